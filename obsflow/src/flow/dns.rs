//! Response codes by name.
//!
//! Source: IANA, "DNS RCODEs" of the Domain Name System parameters (RFC 6895, section 2.3).

use std::fmt;

/// The largest response code: 12 bits with EDNS (RFC 6891, section 6.1.3).
pub const RCODE_MAX: u16 = 0xfff;

/// Number, mnemonic, description.
const RCODES: [(u16, &str, &str); 20] = [
    (0, "NOERROR", "No Error"),
    (1, "FORMERR", "Format Error"),
    (2, "SERVFAIL", "Server Failure"),
    (3, "NXDOMAIN", "Non-Existent Domain"),
    (4, "NOTIMP", "Not Implemented"),
    (5, "REFUSED", "Query Refused"),
    (6, "YXDOMAIN", "Name Exists when it should not"),
    (7, "YXRRSET", "RR Set Exists when it should not"),
    (8, "NXRRSET", "RR Set that should exist does not"),
    (9, "NOTAUTH", "Server Not Authoritative for zone"),
    (10, "NOTZONE", "Name not contained in zone"),
    (11, "DSOTYPENI", "DSO-TYPE Not Implemented"),
    (16, "BADVERS", "Bad OPT Version"),
    (17, "BADKEY", "Key not recognized"),
    (18, "BADTIME", "Signature out of time window"),
    (19, "BADMODE", "Bad TKEY Mode"),
    (20, "BADNAME", "Duplicate key name"),
    (21, "BADALG", "Algorithm not supported"),
    (22, "BADTRUNC", "Bad Truncation"),
    (23, "BADCOOKIE", "Bad/missing Server Cookie"),
];

/// A response code that prints as its description (`Non-Existent Domain`), or as its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RcodeText(pub u16);

impl fmt::Display for RcodeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match entry(self.0) {
            Some((_, _, text)) => f.write_str(text),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A response code that prints as its mnemonic (`NXDOMAIN`), or as `RCODE` and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RcodeName(pub u16);

impl fmt::Display for RcodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match entry(self.0) {
            Some((_, name, _)) => f.write_str(name),
            None => write!(f, "RCODE{}", self.0),
        }
    }
}

/// The number of a mnemonic, whatever its case.
#[must_use]
pub fn rcode_by_name(name: &str) -> Option<u16> {
    RCODES
        .iter()
        .find(|(_, known, _)| known.eq_ignore_ascii_case(name))
        .map(|(number, ..)| *number)
}

/// Every mnemonic.
pub fn rcode_names() -> impl Iterator<Item = &'static str> {
    RCODES.iter().map(|(_, name, _)| *name)
}

fn entry(rcode: u16) -> Option<&'static (u16, &'static str, &'static str)> {
    RCODES.iter().find(|(number, ..)| *number == rcode)
}
