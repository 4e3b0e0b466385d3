//! Which rows a picture has: by map, the fields of a key together, the first keys first.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::board::{Board, Row, Sort};
use crate::render::printable;

/// The counters of one key, field by field.
pub(crate) type Group<'b> = Vec<Row<'b>>;

type Labels<'b> = &'b [(String, String)];

/// The keys of each map, in their order.
pub(crate) type Sections<'b> = BTreeMap<&'b str, Vec<Group<'b>>>;

/// By map; in each at most `top` keys, in the order of their best field.
pub(crate) fn sections(
    board: &Board,
    sort: Sort,
    top: Option<usize>,
    show_idle: bool,
) -> Sections<'_> {
    let mut maps: BTreeMap<&str, BTreeMap<Labels<'_>, Group>> = BTreeMap::new();
    for row in board.rows() {
        let key = row.counter.key();
        maps.entry(&key.map).or_default().entry(&key.labels).or_default().push(row);
    }
    let mut sections = Sections::new();
    for (map, keys) in maps {
        let mut groups: Vec<Group> = keys.into_values().collect();
        groups.retain(|group| show_idle || group.iter().any(|row| !row.is_idle()));
        for group in &mut groups {
            // Refs are given out in the order of the value's fields.
            group.sort_by_key(|row| row.counter.series().r#ref);
        }
        groups.sort_by(|a, b| match (best(a, sort), best(b, sort)) {
            (Some(a), Some(b)) => sort.compare(a, b),
            _ => Ordering::Equal,
        });
        groups.truncate(top.unwrap_or(usize::MAX));
        if !groups.is_empty() {
            sections.insert(map, groups);
        }
    }
    sections
}

fn best<'g, 'b>(group: &'g Group<'b>, sort: Sort) -> Option<&'g Row<'b>> {
    group.iter().min_by(|a, b| sort.compare(a, b))
}

/// The key stands at the first of its rows only.
pub(super) fn rows_of<'b>(group: &Group<'b>) -> Vec<(String, Row<'b>)> {
    let key = |at, row: &Row<'_>| if at == 0 { printable(&row.key()) } else { String::new() };
    group.iter().enumerate().map(|(at, row)| (key(at, row), *row)).collect()
}

/// How many rows each section gets: all it has, or what is left when the small ones have theirs.
pub(super) fn share(sections: &Sections<'_>, rows: usize) -> Vec<usize> {
    let wants: Vec<usize> =
        sections.values().map(|groups| groups.iter().map(Vec::len).sum()).collect();
    let mut shares = vec![0; wants.len()];
    let mut order: Vec<_> = (0..wants.len()).collect();
    order.sort_by_key(|&at| wants[at]);
    let mut left = rows;
    for (done, &at) in order.iter().enumerate() {
        shares[at] = wants[at].min(left / (order.len() - done));
        left -= shares[at];
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::tests::board;

    #[test]
    fn a_small_map_is_shown_whole_beside_a_large_one() {
        let keys: Vec<_> = (0..90).map(|n| ("large", n)).chain([("small", 90)]).collect();
        let board = board(&keys, |_| 1);
        let sections = sections(&board, Sort::Rate, None, true);
        assert_eq!(share(&sections, 11), [10, 1]);
        assert_eq!(share(&sections, 200), [90, 1]);
        assert_eq!(share(&sections, 0), [0, 0]);
    }

    #[test]
    fn top_keeps_the_first_keys_of_each_map() {
        let board = board(&[("a", 1), ("a", 2), ("a", 3), ("b", 4)], |key| key);
        let sections = sections(&board, Sort::Rate, Some(2), true);
        let keys = |map| sections[map].iter().map(|group| group[0].key()).collect::<Vec<_>>();
        assert_eq!(keys("a"), ["key-3", "key-2"]);
        assert_eq!(keys("b"), ["key-4"]);
    }
}
