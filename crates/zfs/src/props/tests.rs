use super::*;

#[test]
fn legal_and_illegal_property_names() {
    for name in ["atime", "org.example:id", "a:b-c_d.e", "written@Snap-1", "volsize"] {
        assert!(name.parse::<PropName>().is_ok(), "{name}");
    }
    for name in ["", "-a", "Atime", "a b", "a=b", "a,b", "a/b", "ä"] {
        assert_eq!(name.parse::<PropName>(), Err(NameError::Property), "{name}");
    }
    assert!(PropName::from_static("a:b").is_user());
    assert!(!PropName::from_static("atime").is_user());
}

#[test]
fn a_value_fits_into_a_column_and_into_the_program() {
    assert!("x".repeat(MAX_VALUE_LEN).parse::<PropValue>().is_ok());
    assert!("x".repeat(MAX_VALUE_LEN + 1).parse::<PropValue>().is_err());
    for value in ["a\tb", "a\nb", "a\0b", "\x7f"] {
        assert_eq!(value.parse::<PropValue>(), Err(NameError::Value), "{value:?}");
    }
    assert_eq!(PropValue::from(7).as_str(), "7");
}
