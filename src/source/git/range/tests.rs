use super::*;

/// The meaning of each form, as Masterminds/semver documents and tests it.
#[test]
fn ranges_have_the_same_meaning_as_for_flux() {
    for (range, inside, outside) in [
        (
            ">=1.0.0 <2.0.0",
            "1.0.0 1.9.9 1.2.3+b",
            "0.9.9 2.0.0 1.5.0-rc.1 2.0.0-rc.1",
        ),
        (">=1.0.0, <2.0.0", "1.0.0", "2.0.0"),
        (">= 1.0.0,<2.0.0 != 1.5.0", "1.4.0", "1.5.0 2.0.0"),
        ("=>v1.0.0 =<1.2", "1.0.0 1.2.9", "1.3.0 1.2.9-a"),
        ("1.2.3", "1.2.3 1.2.3+build", "1.2.4 1.3.0 1.2.3-rc.1"),
        ("=1.2.3", "1.2.3", "1.2.4"),
        ("1.2", "1.2.0 1.2.9", "1.3.0 1.1.9"),
        ("1.x", "1.0.0 1.99.0", "2.0.0 0.9.0 2.0.0-0"),
        ("1.2.x", "1.2.0 1.2.7", "1.3.0"),
        ("1.X.X", "1.2.0", "2.0.0"),
        ("*", "0.0.0 99.0.0", "1.0.0-rc.1"),
        ("x", "0.0.1", "0.0.1-a"),
        ("*-0", "0.0.1 1.0.0-alpha 7.0.0", ""),
        ("~1.2", "1.2.0 1.2.9", "1.3.0 1.1.0"),
        ("~1.2.3", "1.2.3 1.2.9", "1.2.2 1.3.0"),
        ("~>1", "1.0.0 1.9.0", "2.0.0 0.1.0"),
        ("^1", "1.0.0 1.9.0", "2.0.0 0.9.0"),
        ("^1.2.3", "1.2.3 1.9.0", "1.2.2 2.0.0"),
        ("^0.2.3", "0.2.3 0.2.9", "0.2.2 0.3.0"),
        ("^0.0.3", "0.0.3", "0.0.4 0.0.2"),
        ("^0.0", "0.0.0 0.0.9", "0.1.0"),
        ("^0", "0.0.0 0.9.0", "1.0.0"),
        ("^*", "0.0.0 9.9.9", "1.0.0-a"),
        ("1.2.3 - 2.0.0", "1.2.3 2.0.0", "1.2.2 2.0.1"),
        ("1.2 - 2", "1.2.0 2.9.9", "1.1.9 3.0.0"),
        (
            "1 - 2 || 4 - 5.1, !=5.0.x",
            "1.0.0 2.1.0 4.0.0 5.1.9",
            "3.0.0 5.0.3 5.2.0",
        ),
        ("<1 || >=3", "0.9.0 3.0.0", "1.0.0 2.9.9"),
        (">1", "2.0.0", "1.9.9 1.0.0 2.0.0-a"),
        (">1.2", "1.3.0", "1.2.9"),
        (">1.2.3", "1.2.4", "1.2.3 1.2.3+b"),
        ("<=1", "1.9.9 0.0.1", "2.0.0"),
        ("<1.2", "1.1.9", "1.2.0"),
        ("!=1.x", "0.9.0 2.0.0", "1.5.0"),
        ("!=1.2.3", "1.2.4", "1.2.3"),
        // A pre-release in one condition asks for those of its group, at any version.
        (
            ">=1.0.0-0",
            "1.0.0-alpha 1.0.0 1.5.0-beta.2 2.0.0-rc.1",
            "0.9.0 0.9.0-a",
        ),
        (">=1.0.0-0 <2.0.0", "1.5.0-beta 1.9.9", "2.0.0"),
        (">=1.0.0-0 <2.0.0-0", "1.5.0-beta", "2.0.0-alpha 2.0.0"),
        (">=1-0", "1.0.0-alpha 2.0.0-a", "0.9.9"),
        ("~1.2-0", "1.2.0-a 1.2.5-b", "1.3.0-a 1.3.0"),
        (
            "^1.2.3-rc.1",
            "1.2.3-rc.1 1.2.3-rc.2 1.2.3 1.4.0-a",
            "1.2.3-beta 2.0.0-a",
        ),
        ("1.2.3-rc.1", "1.2.3-rc.1", "1.2.3 1.2.3-rc.2"),
        ("<1 || >=3.0.0-0", "0.9.0 3.0.0-a", "0.9.0-a 1.0.0"),
    ] {
        let parsed = Range::parse(range).unwrap();
        for (versions, wanted) in [(inside, true), (outside, false)] {
            for version in versions.split_whitespace() {
                let matches = parsed.matches(&Version::parse(version).unwrap());
                assert_eq!(matches, wanted, "{version} in {range}");
            }
        }
    }
}

#[test]
fn an_invalid_range_is_refused_with_its_position() {
    for (range, problem) in [
        ("", "a condition is missing"),
        ("  ", "a condition is missing"),
        (">=1.0.0,", "a condition is missing"),
        (">=1,,<2", "a condition is missing"),
        ("1 ||", "a condition is missing"),
        (">=", "a condition is missing"),
        ("latest", "\"latest\" is not a version"),
        ("1.2.3.4", "\"1.2.3.4\" is not a version"),
        ("1.x.3", "\"1.x.3\" is not a version"),
        ("01.2.3", "\"01.2.3\" is not a version"),
        ("1..2", "\"1..2\" is not a version"),
        ("1.2.3-", "\"1.2.3-\" is not a version"),
        ("1.2.3+", "\"1.2.3+\" is not a version"),
        ("1.2.3-a_b", "\"1.2.3-a_b\" is not a version"),
        (
            "99999999999999999999",
            "\"99999999999999999999\" is not a version",
        ),
        ("1.2.3 | 2", "\"|\" is not a version"),
        ("1 -2", "\"-2\" is not a version"),
        ("1 - ", "\"-\" is not a version"),
        ("1 - >2", "\">\" is not an operator"),
        ("==1", "\"==\" is not an operator"),
        (">1 - 2", "\"-\" is not a version"),
        ("^^1", "\"^^\" is not an operator"),
        (">*", "no version satisfies \">*\""),
        ("<x", "no version satisfies \"<*\""),
        ("!=*", "no version satisfies \"!=*\""),
    ] {
        let error = Range::parse(range).unwrap_err();
        assert_eq!(error.to_string(), problem, "{range:?}");
    }
    assert_eq!(
        Range::parse(&"1 ".repeat(200)).unwrap_err(),
        Invalid::TooLong
    );
}

#[test]
fn the_highest_version_wins_in_any_order() {
    for (range, tags, newest) in [
        ("*", "1.0.0 1.10.0 1.9.0 nightly 2.0.0-rc.1", Some("1.10.0")),
        ("*", "v1.0.0 1.1.0 v1.2.0 v1.2 v1", Some("v1.2.0")),
        ("*", "1.0.0 v1.0.0", Some("v1.0.0")),
        ("*", "vv1.0.0 V1.0.0 chart/1.0.0 01.0.0", None),
        ("1.x", "1.0.0+2 1.0.0 1.0.0+10", Some("1.0.0+10")),
        (">=1-0", "1.0.0-rc.2 1.0.0-rc.10", Some("1.0.0-rc.10")),
        (">=1-0", "1.0.0-rc.2 1.0.0", Some("1.0.0")),
        ("2.x", "1.0.0", None),
    ] {
        let range = Range::parse(range).unwrap();
        let tags: Vec<&str> = tags.split_whitespace().collect();
        assert_eq!(range.newest(tags.iter().copied()), newest);
        assert_eq!(range.newest(tags.iter().rev().copied()), newest);
    }
}
