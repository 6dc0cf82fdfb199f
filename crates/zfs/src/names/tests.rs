use proptest::prelude::*;

use super::*;

#[test]
fn legal_and_illegal_names() {
    let long = format!("p/{}", "x".repeat(MAX_NAME_LEN - 2));
    let deep = vec!["p"; MAX_DEPTH].join("/");
    for name in [
        "p",
        "p/a",
        "p/a.b",
        "p/a b",
        "p/..a",
        "p/-a",
        "Tank-1_x:y/A",
        &long,
        &deep,
    ] {
        assert_eq!(
            name.parse::<DatasetName>().map(|parsed| parsed.to_string()),
            Ok(name.to_owned())
        );
    }
    let table: &[(&str, NameError)] = &[
        ("", NameError::Empty),
        ("/p", NameError::Empty),
        ("p/", NameError::Empty),
        ("p//a", NameError::Empty),
        ("-p", NameError::PoolName),
        ("1p", NameError::PoolName),
        ("mirror", NameError::PoolName),
        ("p/.", NameError::Relative),
        ("p/../a", NameError::Relative),
        ("p/a@x", NameError::Character('@')),
        ("p/a#x", NameError::Character('#')),
        ("p/a%b", NameError::Character('%')),
        ("p/a\tb", NameError::Character('\t')),
        ("p/a\n", NameError::Character('\n')),
        ("p/ä", NameError::Character('ä')),
        ("p/a,b", NameError::Character(',')),
    ];
    for (name, error) in table {
        assert_eq!(name.parse::<DatasetName>().as_ref(), Err(error), "{name}");
    }
    assert_eq!(
        format!("{long}x").parse::<DatasetName>(),
        Err(NameError::TooLong { len: 256, max: 255 })
    );
    assert_eq!(format!("{deep}/p").parse::<DatasetName>(), Err(NameError::TooDeep));
}

#[test]
fn a_snapshot_counts_with_its_dataset() {
    let dataset: DatasetName = format!("p/{}", "x".repeat(251)).parse().unwrap();
    assert!(dataset.at(&"y".parse().unwrap()).is_ok());
    assert!(dataset.at(&"yy".parse().unwrap()).is_err());
    for name in ["p/a", "p/a@", "@x", "p/a@x@y", "p/a@x/y", "p/a@x,y", "p/a@%"] {
        assert!(name.parse::<SnapshotName>().is_err(), "{name}");
    }
    let snapshot: SnapshotName = "p/a@x".parse().unwrap();
    assert_eq!((snapshot.dataset().as_str(), snapshot.snap().as_str()), ("p/a", "x"));
}

#[test]
fn a_child_is_one_name_and_no_option() {
    let parent: DatasetName = "p/a".parse().unwrap();
    assert_eq!(parent.child("b").unwrap().to_string(), "p/a/b");
    for component in ["", "-b", "b/c", "..", ".", "b@c", "b c,"] {
        assert!(parent.child(component).is_err(), "{component}");
    }
}

#[test]
fn relatives_are_told_by_whole_components() {
    let name = |text: &str| text.parse::<DatasetName>().unwrap();
    assert!(name("p/a/b").is_below(&name("p/a")));
    assert!(!name("p/ab").is_below(&name("p/a")));
    assert!(!name("p/a").is_below(&name("p/a")));
    assert_eq!(name("p/a/b").parent(), Some(name("p/a")));
    assert_eq!(name("p").parent(), None);
    assert_eq!(
        (name("p/a/b").base().to_owned(), name("p/a/b").pool().root()),
        ("b".to_owned(), name("p"))
    );
}

#[test]
fn a_tag_is_no_option() {
    assert!("keep".parse::<HoldTag>().is_ok());
    assert_eq!("-r".parse::<HoldTag>(), Err(NameError::LeadingDash));
    assert_eq!("".parse::<HoldTag>(), Err(NameError::Empty));
}

proptest! {
    #[test]
    fn what_parses_prints_the_same(text in "[a-z@/#%. :_-]{0,30}") {
        if let Ok(name) = text.parse::<ObjectName>() {
            prop_assert_eq!(name.to_string(), text.clone());
            prop_assert!(!text.starts_with('-') && !text.contains(','));
            prop_assert_eq!(name.snapshot().is_some(), text.contains('@'));
        }
    }

    #[test]
    fn a_parents_child_is_the_name_again(text in "p(/[a-z0-9]{1,5}){1,5}") {
        let name: DatasetName = text.parse().unwrap();
        let parent = name.parent().unwrap();
        prop_assert_eq!(parent.child(name.base()).unwrap(), name.clone());
        prop_assert!(name.is_below(&parent));
        prop_assert_eq!(name.depth(), parent.depth() + 1);
    }
}
