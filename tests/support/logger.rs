//! The one logger of a test program: each thread sets its own sink for the lines it logs.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Once;

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Lines of the levels go to the function.
type Sink = (RangeInclusive<Level>, Rc<dyn Fn(&Record<'_>)>);

thread_local! {
    static SINK: RefCell<Option<Sink>> = const { RefCell::new(None) };
    static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

/// Passes lines of `levels` that this thread logs to `sink`, which may panic.
pub(crate) fn set_sink(levels: RangeInclusive<Level>, sink: impl Fn(&Record<'_>) + 'static) {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        log::set_logger(&ThreadLogger).expect("tests install no other logger");
        log::set_max_level(LevelFilter::Debug);
    });
    SINK.set(Some((levels, Rc::new(sink))));
}

/// Keeps lines that this thread logs at info and above, beginning with none.
pub(crate) fn capture() {
    take_lines();
    set_sink(Level::Error..=Level::Info, |record| {
        let line = (record.level(), record.args().to_string());
        LINES.with_borrow_mut(|lines| lines.push(line));
    });
}

/// Lines captured on this thread since the last call.
pub(crate) fn take_lines() -> Vec<(Level, String)> {
    LINES.take()
}

/// Texts of the lines captured on this thread since the last call.
pub(crate) fn take_texts() -> Vec<String> {
    take_lines().into_iter().map(|(_, text)| text).collect()
}

struct ThreadLogger;

impl Log for ThreadLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_wanted = |sink: &Sink| sink.0.contains(&metadata.level());
        SINK.with_borrow(|sink| sink.as_ref().is_some_and(is_wanted))
    }

    fn log(&self, record: &Record<'_>) {
        let sink = SINK.with_borrow(|sink| {
            sink.as_ref().filter(|sink| sink.0.contains(&record.level())).map(|sink| sink.1.clone())
        });
        if let Some(sink) = sink {
            sink(record);
        }
    }

    fn flush(&self) {}
}
