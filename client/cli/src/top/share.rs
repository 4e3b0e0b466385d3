//! Who has how much of the screen: what a pane does not need goes to those that have more rows.

use ratatui::layout::{Constraint, Layout, Rect};

use super::panes::Pane;

/// Lines that a pane needs to say anything: its frame, the heading, a row.
pub(super) const LEAST: u16 = 4;
/// Its frame and its heading.
const AROUND: u16 = LEAST - 1;
/// From this width on the counters stand beside the rest.
const WIDE: u16 = 160;
/// The pane with the keys counts as so many of the others.
const FOCUS: u16 = 2;

/// The panes that there is room for, and where. `rows` is by pane.
pub(super) fn areas(body: Rect, focus: Pane, rows: [usize; 4]) -> Vec<(Pane, Rect)> {
    let [counters, rest @ ..] = Pane::ALL;
    if body.width >= WIDE && body.height >= LEAST * 3 {
        let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(body);
        let mut areas = vec![(counters, left)];
        areas.extend(stacked(right, &rest, focus, rows));
        return areas;
    }
    if body.height < LEAST * 5 {
        return vec![(focus, body)];
    }
    stacked(body, &Pane::ALL, focus, rows)
}

fn stacked(body: Rect, panes: &[Pane], focus: Pane, rows: [usize; 4]) -> Vec<(Pane, Rect)> {
    let need = |pane: &Pane| {
        let rows = u16::try_from(rows[*pane as usize].max(1)).unwrap_or(u16::MAX);
        let weight = if *pane == focus { FOCUS } else { 1 };
        (rows.saturating_add(AROUND), weight)
    };
    let needs: Vec<_> = panes.iter().map(need).collect();
    let heights = heights(body.height, &needs);
    let parts = Layout::vertical(heights.into_iter().map(Constraint::Length)).split(body);
    panes.iter().copied().zip(parts.iter().copied()).collect()
}

/// Each has the least; of the rest what it needs, or else its part by weight of what those leave
/// that need less. What nobody needs is for whoever weighs most.
fn heights(room: u16, needs: &[(u16, u16)]) -> Vec<u16> {
    let mut heights = vec![LEAST; needs.len()];
    let mut left = room.saturating_sub(heights.iter().sum());
    let mut open: Vec<usize> = (0..needs.len()).collect();
    loop {
        let weights: u16 = open.iter().map(|at| needs[*at].1).sum();
        let share = |at: usize| left * needs[at].1 / weights.max(1);
        let more = |at: usize| needs[at].0.saturating_sub(LEAST);
        let Some(place) = open.iter().position(|at| more(*at) <= share(*at)) else {
            for at in open {
                heights[at] += share(at);
            }
            break;
        };
        let at = open.remove(place);
        heights[at] += more(at);
        left -= more(at);
    }
    let used: u16 = heights.iter().sum();
    if let Some(most) = (0..needs.len()).max_by_key(|at| needs[*at].1) {
        heights[most] += room.saturating_sub(used);
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_does_not_need_others_have() {
        assert_eq!(heights(22, &[(63, 2), (5, 1), (5, 1), (4, 1)]), [8, 5, 5, 4]);
        assert_eq!(heights(48, &[(63, 2), (5, 1), (5, 1), (4, 1)]), [34, 5, 5, 4]);
        assert_eq!(heights(22, &[(63, 2), (30, 1), (30, 1), (30, 1)]), [7, 5, 5, 5]);
        assert_eq!(heights(48, &[(63, 1), (30, 2), (30, 1), (30, 1)]).iter().sum::<u16>(), 48);
        assert_eq!(heights(40, &[(4, 2), (4, 1)]), [36, 4]);
    }

    #[test]
    fn no_pane_leaves_the_screen_or_has_too_little_to_speak() {
        for (width, height) in [(80, 22), (80, 21), (200, 48), (160, 12), (300, 98), (80, 60)] {
            let body = Rect::new(0, 1, width, height);
            for focus in Pane::ALL {
                for rows in [[0; 4], [1000; 4], [60, 2, 2, 1], [1, 50, 50, 50]] {
                    let areas = areas(body, focus, rows);
                    let outside = areas.iter().any(|(_, area)| area.intersection(body) != *area);
                    let least = areas.iter().map(|(_, area)| area.height).min().unwrap();
                    assert!(!outside && least >= LEAST, "{body} {focus:?} {rows:?}: {areas:?}");
                    assert_eq!(areas.iter().map(|(_, area)| area.area()).sum::<u32>(), body.area());
                }
            }
        }
    }
}
