//! Charts, drawn by the server. Text is placed in pixels, and only the plot inside is stretched.

use maud::{Markup, html};

/// A bar of a share, with a lighter part behind it: what is reserved, or forecast.
pub fn bar(share: f64, colour: &str, second: Option<f64>, label: &str) -> Markup {
    let percent = |share: f64| format!("{}%", short(share.clamp(0.0, 1.0) * 100.0));
    html! {
        svg.bar role="img" aria-label=(label) {
            rect.track width="100%" height="100%" {}
            @if let Some(second) = second.filter(|second| *second > share) {
                rect class={ "f lo " (colour) } width=(percent(second)) height="100%" {}
            }
            rect class={ "f " (colour) } width=(percent(share)) height="100%" {}
        }
    }
}

/// The numbers of a chart for the script of the page. A closing tag in a name must not end the element.
pub fn numbers(numbers: &serde_json::Value) -> Markup {
    let text = numbers.to_string().replace('<', "\\u003c");
    html! { script type="application/json" { (maud::PreEscaped(text)) } }
}

/// A number with at most two digits behind the point.
pub fn short(number: f64) -> String {
    let text = format!("{number:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// The smallest round step that covers a height in this many steps: 1, 2, 2.5 or 5 times a power of ten.
pub fn round_step(height: f64, steps: f64) -> f64 {
    if height <= 0.0 {
        return 1.0;
    }
    let raw = height / steps;
    let power = 10_f64.powf(raw.log10().floor());
    let found = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|factor| factor * power >= raw - 1e-12);
    found.unwrap_or(10.0) * power
}

/// A line through points, with a dot for each point between two gaps: a line of one point would not be seen.
pub fn line(class: &str, points: &[Option<f64>], top: f64) -> Markup {
    let is_known = |at: usize| points.get(at).is_some_and(Option::is_some);
    let is_alone = |at: usize| (at == 0 || !is_known(at - 1)) && !is_known(at + 1);
    let alone: Vec<Option<f64>> =
        points.iter().enumerate().map(|(at, point)| point.filter(|_| is_alone(at))).collect();
    // The round end of a line of no length is the dot.
    let dots = line_path(&alone, top).replace('M', "h0M");
    let dots = dots.strip_prefix("h0").map(|dots| format!("{dots}h0")).unwrap_or_default();
    html! {
        path class={ "ln " (class) } d=(line_path(points, top)) {}
        @if !dots.is_empty() { path class={ "ln dots " (class) } d=(dots) {} }
    }
}

/// A line through points; a gap breaks it, because unknown values are not drawn.
pub fn line_path(points: &[Option<f64>], top: f64) -> String {
    let last = points.len().saturating_sub(1).max(1) as f64;
    let (mut path, mut is_down) = (String::new(), false);
    for (at, point) in points.iter().enumerate() {
        let Some(value) = point else {
            is_down = false;
            continue;
        };
        let letter = if is_down { 'L' } else { 'M' };
        let x = short(at as f64 / last * 1000.0);
        path.push_str(&format!("{letter}{x} {}", short(100.0 - value / top * 100.0)));
        is_down = true;
    }
    path
}

/// The area between two lines.
pub fn area_path(lower: &[f64], upper: &[f64], top: f64) -> String {
    let last = upper.len().saturating_sub(1).max(1) as f64;
    let point = |at: usize, value: f64| {
        format!("{} {}", short(at as f64 / last * 1000.0), short(100.0 - value / top * 100.0))
    };
    let mut path = String::new();
    for (at, value) in upper.iter().enumerate() {
        path.push(if at == 0 { 'M' } else { 'L' });
        path.push_str(&point(at, *value));
    }
    for (at, value) in lower.iter().enumerate().rev() {
        path.push('L');
        path.push_str(&point(at, *value));
    }
    path.push('Z');
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_gaps_break_lines() {
        assert_eq!([round_step(9.0, 4.0), round_step(0.0, 4.0)], [2.5, 1.0]);
        assert_eq!(line_path(&[Some(0.0), None, Some(10.0), Some(5.0)], 10.0), "M0 100M666.67 0L1000 50");
        let drawn =
            line("k1", &[Some(0.0), None, Some(10.0), Some(5.0), None, Some(5.0)], 10.0).into_string();
        assert!(drawn.contains("<path class=\"ln dots k1\" d=\"M0 100h0M1000 50h0\">"), "{drawn}");
        assert!(!line("k1", &[Some(0.0), Some(1.0)], 10.0).into_string().contains("dots"));
        assert_eq!(area_path(&[0.0, 0.0], &[1.0, 2.0], 2.0), "M0 50L1000 0L1000 100L0 100Z");
    }
}
