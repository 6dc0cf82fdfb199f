use proptest::prelude::*;

use super::*;

#[test]
fn versions_need_both_lines() {
    let versions = parse_version("zfs-2.3.9-1~deb13u1\nzfs-kmod-2.3.2-2\n").unwrap();
    assert_eq!(
        (versions.userland.number, versions.kernel.number),
        ((2, 3, 9), (2, 3, 2))
    );
    for output in ["", "zfs-2.3.9-1\n", "zfs-2.3.9-1\nzfs-2.3.9-1\n", "x\ny\n"] {
        assert!(parse_version(output).is_err(), "{output}");
    }
}

#[test]
fn a_pools_status_needs_every_property() {
    let output = "guid\t17\nload_guid\t18\nhealth\tONLINE\nsize\t1000\nallocated\t10\nfree\t990\nfreeing\t0\nfragmentation\t3\nreadonly\toff\n";
    let status = parse_pool_status(output).unwrap();
    assert_eq!(
        (status.guid, status.load_guid, status.health),
        (Guid(17), Guid(18), Health::Online)
    );
    assert_eq!(
        (status.size, status.allocated, status.free, status.fragmentation),
        (1000, 10, 990, Some(3))
    );
    for line in output.lines() {
        let without = output.replace(&format!("{line}\n"), "");
        assert!(parse_pool_status(&without).is_err(), "{line}");
    }
    let suspended = output
        .replace("ONLINE", "SUSPENDED")
        .replace("fragmentation\t3", "fragmentation\t-");
    let status = parse_pool_status(&suspended.replace("freeing\t0", "freeing\t-")).unwrap();
    assert_eq!(
        (status.health, status.fragmentation, status.freeing),
        (Health::Suspended, None, 0)
    );
    assert!(parse_pool_status(&output.replace("1000", "1000x")).is_err());
}

#[test]
fn importable_pools_are_found_among_what_is_said_to_people() {
    let output = "   pool: tank\n     id: 12345678901234567890\n  state: UNAVAIL\nstatus: One or more devices contains corrupted data.\n action: The pool cannot be imported.\n   see: https://openzfs.github.io/\n config:\n\n\ttank  UNAVAIL  insufficient replicas\n\n   pool: other\n     id: 2\n  state: ONLINE (DESTROYED)\n";
    let pools = parse_importable(output).unwrap();
    let pools: Vec<_> = pools
        .iter()
        .map(|pool| (pool.name.as_str(), pool.guid.0, pool.health))
        .collect();
    assert_eq!(
        pools,
        [
            ("tank", 12_345_678_901_234_567_890, Health::Unavailable),
            ("other", 2, Health::Online)
        ]
    );
    assert_eq!(parse_importable("").unwrap(), []);
}

const USED: PropName = PropName::from_static("used");
const ID: PropName = PropName::from_static("org.example:id");

#[test]
fn rows_have_exactly_the_columns_asked_for() {
    let rows = parse_rows("p/a\t10\tone\np/a@x\t0\t-\n", &[USED, ID]).unwrap();
    assert_eq!(rows[0].name.to_string(), "p/a");
    assert_eq!((rows[0].number(&USED), rows[0].value(&ID)), (Ok(10), Some("one")));
    assert_eq!((rows[1].number(&USED), rows[1].value(&ID)), (Ok(0), None));
    assert!(rows[1].name.snapshot().is_some());
    for output in [
        "p/a\t10\n",
        "p/a\t10\tone\tmore\n",
        "\t10\tone\n",
        "not a name/\t1\t2\n",
    ] {
        assert!(parse_rows(output, &[USED, ID]).is_err(), "{output}");
    }
    assert_eq!(parse_rows("p/a\n", &[]).unwrap().len(), 1);
}

#[test]
fn properties_come_with_their_source() {
    let output = "p/a\torg.example:id\tone\tlocal\np/a\tatime\toff\tinherited from p\np/a\tused\t1\t-\np/a\tsync\tstandard\tdefault\np/a\torg.example:r\tx\treceived\n";
    let rows = parse_properties(output).unwrap();
    let sources: Vec<_> = rows.iter().map(|row| row.source.clone()).collect();
    let inherited = Source::Inherited("p".parse().unwrap());
    assert_eq!(
        sources,
        [
            Source::Local,
            inherited,
            Source::None,
            Source::Default,
            Source::Received
        ]
    );
    for output in ["p/a\tused\t1\n", "p/a\tused\t1\tsomewhere\n", "p/a\tUsed\t1\t-\n"] {
        assert!(parse_properties(output).is_err(), "{output}");
    }
}

#[test]
fn a_foreign_tag_may_be_any_text() {
    let holds =
        parse_holds("p/a@x\tkeep me\tSun Nov 22 16:40 2026\np/a@x\ttab\tin it\tSun Nov 22 16:40 2026\n").unwrap();
    assert_eq!(
        (holds[0].tag.as_str(), holds[1].tag.as_str()),
        ("keep me", "tab\tin it")
    );
    assert!(parse_holds("p/a@x\n").is_err());
}

proptest! {
    #[test]
    fn a_listing_survives_being_printed(
        rows in proptest::collection::vec(("[a-z][a-z0-9]{0,8}(/[a-zA-Z0-9_.: -]{2,9}){0,3}", any::<u64>(), "[ -~]{1,40}"), 0..8)
    ) {
        let output: String = rows.iter().map(|(name, used, id)| format!("{name}\t{used}\t{id}\n")).collect();
        let names_parse = rows.iter().all(|(name, _, _)| name.parse::<crate::DatasetName>().is_ok());
        let parsed = parse_rows(&output, &[USED, ID]);
        prop_assert_eq!(parsed.is_ok(), names_parse);
        for (row, (name, used, id)) in parsed.into_iter().flatten().zip(&rows) {
            prop_assert_eq!(&row.name.to_string(), name);
            prop_assert_eq!(row.number(&USED), Ok(*used));
            prop_assert_eq!(row.value(&ID), (id != "-").then_some(id.as_str()));
        }
    }

    #[test]
    fn no_output_makes_a_parser_panic(output in "[\\t\\n @/a-z0-9:.-]{0,200}") {
        let _ = parse_rows(&output, &[USED, ID]);
        let _ = parse_properties(&output);
        let _ = parse_holds(&output);
        let _ = parse_importable(&output);
        let _ = parse_pool_status(&output);
        let _ = parse_version(&output);
        let _ = parse_written(&output);
    }
}
