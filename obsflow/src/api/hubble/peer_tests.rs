use proptest::prelude::*;

use super::*;

fn nodes() -> impl Strategy<Value = Nodes> {
    let place = (0..3u8, any::<bool>()).prop_map(|(host, tls)| Place {
        address: format!("10.0.0.{host}:4244"),
        server_name: tls.then(|| "agent".to_owned()),
    });
    prop::collection::btree_map(
        (0..5u8).prop_map(|name| Arc::from(format!("node-{name}"))),
        place,
        0..5,
    )
}

/// What a client makes of changes.
fn follow(known: &mut Nodes, change: &ChangeNotification) {
    let name: Arc<str> = change.name.as_str().into();
    let place = Place {
        address: change.address.clone(),
        server_name: change.tls.as_ref().map(|tls| tls.server_name.clone()),
    };
    let before = match change.r#type() {
        ChangeNotificationType::PeerDeleted => {
            assert_eq!(known.remove(&name), Some(place));
            return;
        }
        ChangeNotificationType::PeerAdded => None,
        ChangeNotificationType::PeerUpdated => known.get(&name).cloned(),
        ChangeNotificationType::Unknown => panic!("{change:?}"),
    };
    assert_eq!(known.get(&name), before.as_ref());
    assert_ne!(before.as_ref(), Some(&place));
    known.insert(name, place);
}

proptest! {
    #[test]
    fn changes_lead_to_what_is(steps in prop::collection::vec(nodes(), 0..6)) {
        let (mut told, mut known) = (Nodes::default(), Nodes::default());
        for now in &steps {
            for change in differences(&mut told, now) {
                follow(&mut known, &change);
            }
            prop_assert_eq!(&known, now);
            prop_assert_eq!(&told, now);
        }
    }
}

#[tokio::test]
async fn everybody_is_told_first_and_then_what_changes() {
    use tokio_stream::StreamExt as _;
    let place = |address: &str| Place {
        address: address.to_owned(),
        server_name: None,
    };
    let (sender, receiver) = watch::channel(Arc::new(Nodes::from([
        ("a".into(), place("10.0.0.1:4244")),
        ("b".into(), place("10.0.0.2:4244")),
    ])));
    let peer = Peer::new(Peers::new(receiver));
    let mut told = peer
        .notify(Request::new(NotifyRequest {}))
        .await
        .unwrap()
        .into_inner();
    for (name, address) in [("a", "10.0.0.1:4244"), ("b", "10.0.0.2:4244")] {
        let change = told.next().await.unwrap().unwrap();
        assert_eq!((&*change.name, &*change.address), (name, address));
        assert_eq!(change.r#type(), ChangeNotificationType::PeerAdded);
    }
    sender.send_modify(|nodes| drop(Arc::make_mut(nodes).remove("a")));
    let change = told.next().await.unwrap().unwrap();
    assert_eq!(
        (&*change.name, change.r#type()),
        ("a", ChangeNotificationType::PeerDeleted)
    );
    drop(sender);
    assert!(told.next().await.is_none());
}
