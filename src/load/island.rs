//! The record within a page, so that a page can be compared and merged again: a data block of JSON
//! (HTML: `script` with a type that is no script's), which no browser runs.

use maud::{Markup, PreEscaped, html};
use serde::Serialize;

use super::downsample;
use super::record::{Histograms, Points, Record};
use super::record_file::{ISLAND_BEGIN, ISLAND_END};

/// Most rows, and most points of each kind, that the record in a page has.
const ROWS_MAX: usize = 120;
const POINTS_MAX: usize = 200;

/// The record that a page has: without the histograms of each second, and with fewer rows and points.
/// All else is as in `record`, the histograms of the whole run included.
pub(super) fn light(record: &Record) -> Record {
    let thin = |points: &[_]| downsample::points(points, POINTS_MAX);
    Record {
        series: downsample::rows(&record.series, ROWS_MAX),
        points: Points {
            connected: thin(&record.points.connected),
            memory: downsample::points(&record.points.memory, POINTS_MAX),
            ..record.points.clone()
        },
        histograms: Histograms { seconds: Vec::new(), ..record.histograms.clone() },
        ..record.clone()
    }
}

/// The block with `value` in it.
pub(super) fn render(value: &impl Serialize) -> Markup {
    // Maps have text as keys, so there is no error.
    let json = serde_json::to_string(value).unwrap_or_default();
    // `</script>` and `<!--` in a text would end the block, or begin a comment.
    let json = json.replace('<', "\\u003c");
    html! { (PreEscaped(ISLAND_BEGIN)) (PreEscaped(json)) (PreEscaped(ISLAND_END)) }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{run, run_of_an_hour, with_record};
    use super::super::record::Record;
    use super::*;

    #[test]
    fn island_is_read_as_it_was_written() {
        let mut run = run();
        run.stats.refusal = Some("</script><!-- <script>".to_owned());
        with_record("idle command://h:1 -c 10 --probe 5", run, |record| {
            let page =
                html! { p { "before" } (render(&light(record))) p { "behind" } }.into_string();
            assert_eq!(page.matches("</script>").count(), 1);
            assert!(!page.contains("<!--"));
            let (_, behind) = page.split_once(ISLAND_BEGIN).unwrap();
            let json = behind.split_once(ISLAND_END).unwrap().0;
            let read: Record = serde_json::from_str(json).unwrap();
            assert_eq!(read, light(record));
            assert_eq!(read.refusal, record.refusal);
            assert_eq!(read.latency(), record.latency(), "of the whole run");
            assert_eq!(read.to_string(), record.to_string(), "its summary");
        });
    }

    #[test]
    fn record_in_a_page_is_bounded() {
        with_record("idle command://h:1 -c 10", run_of_an_hour(), |record| {
            let light = light(record);
            assert!(light.series.len() <= ROWS_MAX && light.histograms.seconds.is_empty());
            assert!(light.points.memory.len() <= POINTS_MAX + 1);
            assert!(light.points.connected.len() <= POINTS_MAX + 1);
            let bytes = render(&light).into_string().len();
            assert!(bytes < 80_000, "{bytes}");
        });
    }
}
