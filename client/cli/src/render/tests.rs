//! Rows in every format.

use super::*;

fn print(sheet: Sheet, format: Format) -> String {
    let mut out = Vec::new();
    sheet.print(&mut out, plain(format)).unwrap();
    String::from_utf8(out).unwrap()
}

fn plain(format: Format) -> Output {
    Output { format, heading: Style::new(), headings: true, zone: Zone::utc() }
}

#[test]
fn headings_can_be_left_out_and_wide_columns_asked_for() {
    let rows = || [[Cell::Text("m".into()), Cell::Number(7)]];
    let sheet = || Sheet::many([left("name"), right("id").wide()], rows());
    assert_eq!(print(sheet(), Format::Table), "NAME\nm\n");
    assert_eq!(print(sheet(), Format::Wide), "NAME  ID\nm      7\n");
    assert_eq!(print(sheet(), Format::Csv), "name,id\nm,7\n");
    let bare = |format| {
        let mut out = Vec::new();
        sheet().print(&mut out, Output { headings: false, ..plain(format) }).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!([bare(Format::Wide), bare(Format::Csv)], ["m  7\n", "m,7\n"]);
}

#[test]
fn yaml_is_a_list_or_one_thing() {
    let yaml = "- map_name: \"a,\\\"b\\\"\"\n  size: 7\n  x: null\n- map_name: \"c\"\n";
    assert!(print(two(), Format::Yaml).starts_with(yaml), "{}", print(two(), Format::Yaml));
    let one = Sheet::one([("a", Cell::List(vec!["x".into()])), ("b", Cell::Flag(true))]);
    assert_eq!(print(one, Format::Yaml), "a:\n  - \"x\"\nb: true\n");
    assert_eq!(print(Sheet::many([left("a")], []), Format::Yaml), "[]\n");
}

fn two() -> Sheet {
    let row = |name: &str, size| [Cell::Text(name.into()), Cell::Number(size), Cell::Missing];
    Sheet::many([left("map_name"), right("size"), left("x")], [row("a,\"b\"", 7), row("c", 100)])
}

#[test]
fn a_table_has_aligned_columns_and_no_trailing_blanks() {
    assert_eq!(
        print(two(), Format::Table),
        "MAP NAME  SIZE  X\na,\"b\"        7  -\nc          100  -\n"
    );
}

#[test]
fn json_is_one_document_and_jsonl_one_a_line() {
    let json: Json = serde_json::from_str(&print(two(), Format::Json)).unwrap();
    assert_eq!(json[1]["size"], 100);
    assert_eq!(json[0]["x"], Json::Null);
    let lines = print(two(), Format::Jsonl);
    assert_eq!(lines.lines().count(), 2);
    assert!(lines.lines().all(|line| serde_json::from_str::<Json>(line).is_ok()));
}

#[test]
fn csv_quotes_what_needs_it() {
    assert_eq!(print(two(), Format::Csv), "map_name,size,x\n\"a,\"\"b\"\"\",7,\nc,100,\n");
}

#[test]
fn nothing_is_still_a_document() {
    let none = || Sheet::many([left("a"), left("b")], []);
    assert_eq!(print(none(), Format::Table), "A  B\n");
    assert_eq!(print(none(), Format::Json), "[]\n");
    assert_eq!(print(none(), Format::Jsonl), "");
    assert_eq!(print(none(), Format::Csv), "a,b\n");
}

#[test]
fn one_thing_is_a_list_of_properties_or_one_object() {
    let one = || {
        Sheet::one([
            ("name", Cell::Text("m".into())),
            ("maps", Cell::List(vec!["a".into(), "b".into()])),
        ])
    };
    assert_eq!(print(one(), Format::Table), "NAME  m\nMAPS  a\n      b\n");
    let json: Json = serde_json::from_str(&print(one(), Format::Json)).unwrap();
    assert_eq!(json["maps"][1], "b");
}

#[test]
fn more_rows_than_are_measured_are_all_printed() {
    let rows = (0..2500_u64).map(|n| [Cell::Number(n)]);
    let text = print(Sheet::many([right("n")], rows), Format::Table);
    assert_eq!(text.lines().count(), 2501);
    assert!(text.ends_with("2499\n"));
}
