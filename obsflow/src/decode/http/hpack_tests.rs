use httlib_hpack::Encoder;
use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

fn fields(table: &mut Table, block: &[u8]) -> Vec<Field> {
    let mut fields = Vec::new();
    assert!(table.decode(block, true, |field| fields.push(field)));
    fields
}

/// RFC 7541, C.4: requests with Huffman coding, over one table.
#[test]
fn requests_of_the_rfc() {
    let mut table = Table::default();
    let get = || Field::Method("GET".into());
    let path = |path: &str| Field::Path(path.into());
    let www = || Field::Authority("www.example.com".into());
    assert_eq!(
        fields(&mut table, &hex("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff")),
        [get(), Field::Unreadable(Name::Other), path("/"), www()]
    );
    assert_eq!(
        fields(&mut table, &hex("8286 84be 5886 a8eb 1064 9cbf")),
        [
            get(),
            Field::Unreadable(Name::Other),
            path("/"),
            www(),
            Field::Other
        ]
    );
    assert_eq!(
        fields(
            &mut table,
            &hex("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf")
        ),
        [
            get(),
            Field::Unreadable(Name::Other),
            path("/index.html"),
            www(),
            Field::Other
        ]
    );
}

/// RFC 7541, C.6: responses whose table is too small for all of them.
#[test]
fn responses_of_the_rfc() {
    let mut table = Table::default();
    let first = fields(
        &mut table,
        &hex(
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d
             29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        ),
    );
    assert_eq!(first.first(), Some(&Field::Status(302)));
    assert_eq!(
        fields(&mut table, &hex("4883 640e ffc1 c0bf")).first(),
        Some(&Field::Status(307))
    );
}

#[test]
fn what_was_missed_is_unknown_and_what_comes_after_is_not() {
    let mut encoder = Encoder::default();
    let mut block = |fields: &[(&str, &str)]| {
        let mut block = Vec::new();
        for (name, value) in fields {
            encoder
                .encode(
                    (
                        name.as_bytes().to_vec(),
                        value.as_bytes().to_vec(),
                        Encoder::WITH_INDEXING | Encoder::BEST_FORMAT,
                    ),
                    &mut block,
                )
                .unwrap();
        }
        block
    };
    let first = block(&[(":path", "/v1/traces"), ("user-agent", "sdk/1")]);
    let second = block(&[(":path", "/v1/traces"), ("grpc-status", "8")]);
    let third = block(&[(":path", "/v1/traces"), ("grpc-status", "8")]);
    let mut whole = Table::default();
    fields(&mut whole, &first);
    assert_eq!(
        fields(&mut whole, &second),
        [Field::Path("/v1/traces".into()), Field::GrpcStatus(8)]
    );
    let mut late = Table::default();
    let unknown = || Field::Unreadable(Name::Unknown);
    assert_eq!(fields(&mut late, &second), [unknown(), Field::GrpcStatus(8)]);
    assert_eq!(fields(&mut late, &third), [unknown(), Field::GrpcStatus(8)]);
    late.lose();
    assert_eq!(fields(&mut late, &third), [unknown(), unknown()]);
}

#[test]
fn a_block_that_was_cut_gives_what_was_captured_and_ends_what_is_known() {
    let mut table = Table::default();
    let mut seen = Vec::new();
    assert!(!table.decode(&hex("83 40 88"), false, |field| seen.push(field)));
    assert_eq!(seen, [Field::Method("POST".into())]);
    assert!(table.entries.is_empty());
}

#[test]
fn credentials_are_not_kept() {
    let mut encoder = Encoder::default();
    let mut block = Vec::new();
    for (name, value) in [("authorization", "Bearer secret"), ("x-api-key", "secret")] {
        encoder
            .encode(
                (
                    name.as_bytes().to_vec(),
                    value.as_bytes().to_vec(),
                    Encoder::WITH_INDEXING,
                ),
                &mut block,
            )
            .unwrap();
    }
    let mut table = Table::default();
    assert_eq!(fields(&mut table, &block), [Field::Other, Field::Other]);
    assert!(!format!("{table:?}").contains("secret"));
}

#[test]
fn a_giant_table_is_bounded() {
    let mut table = Table::default();
    for n in 0..5000u32 {
        // Literal with indexing: `:path` and 200 bytes.
        let mut block = vec![0x44, 0x7f, 200 - 127];
        block.extend_from_slice(format!("/{n:0>199}").as_bytes());
        fields(&mut table, &block);
        assert!(table.entries.len() <= MAX_ENTRIES && table.kept <= MAX_VALUES);
        let kept: usize = table.entries.iter().map(Field::kept).sum();
        assert_eq!(kept, table.kept);
    }
    // The newest is still known.
    assert!(matches!(&fields(&mut table, &[0x80 | 62])[..], [Field::Path(_)]));
}

const NAMES: [&str; 8] = [
    ":path",
    ":method",
    ":status",
    "user-agent",
    "grpc-status",
    "authorization",
    "x-a",
    "content-type",
];

proptest! {
    /// Whatever a conforming encoder with a table of the default size makes is read as it was meant.
    #[test]
    fn encoders_are_understood(
        blocks in proptest::collection::vec(
            proptest::collection::vec((0..NAMES.len(), 0u32..40, 0u8..3, any::<bool>()), 1..6),
            1..60,
        ),
        huffman in any::<bool>(),
    ) {
        let mut encoder = Encoder::default();
        let mut table = Table::default();
        for block in blocks {
            let (mut bytes, mut meant) = (Vec::new(), Vec::new());
            for (name, value, indexing, best) in block {
                let value = match NAMES[name] {
                    ":status" | "grpc-status" => (200 + value).to_string(),
                    ":method" => "POST".to_owned(),
                    _ => format!("/{value:060}"),
                };
                let mut flags = [0, Encoder::WITH_INDEXING, Encoder::NEVER_INDEXED][usize::from(indexing)];
                if huffman {
                    flags |= Encoder::HUFFMAN_NAME | Encoder::HUFFMAN_VALUE;
                }
                if best {
                    flags |= Encoder::BEST_FORMAT;
                }
                let field = (NAMES[name].as_bytes().to_vec(), value.as_bytes().to_vec(), flags);
                encoder.encode(field, &mut bytes).unwrap();
                meant.push(Field::of(name_of(NAMES[name].as_bytes()), value.as_bytes()));
            }
            prop_assert_eq!(fields(&mut table, &bytes), meant);
        }
    }

    #[test]
    fn any_bytes(blocks in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..300), any::<bool>()), 0..20)) {
        let mut table = Table::default();
        for (block, whole) in blocks {
            table.decode(&block, whole, |_| {});
            prop_assert!(table.entries.len() <= MAX_ENTRIES && table.kept <= MAX_VALUES);
        }
    }
}
