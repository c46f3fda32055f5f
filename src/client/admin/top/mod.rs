//! `top`: a screen of figures and connections, redrawn once a second, on keys and after a resize.
//!
//! | module | job |
//! |---|---|
//! | `feed` | a thread that asks the server |
//! | `frame` | what is shown, as lines; pure |
//! | `input` | threads that read keys and signals |
//! | `keys` | bytes of the terminal as keys |
//! | `screen` | the terminal's mode and its alternate screen |
//! | `view` | what is chosen and selected, and the last figures |

mod feed;
mod frame;
mod input;
mod keys;
mod screen;
mod view;

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::exchange::Exchange;
use crate::client::error::ClientError;
use crate::client::output::terminal_size;
use feed::{Answer, Feed, Query};
use input::Input;
use screen::Screen;
use view::{Effect, View};

pub(in crate::client) use screen::has_screen;

/// The time between two requests, and at most between two frames.
const INTERVAL: Duration = Duration::from_secs(1);

/// Events that the main thread waits for.
#[derive(Debug)]
enum Event {
    Input(Input),
    Answer(Answer),
}

/// Shows the screen until the user leaves it.
///
/// # Errors
///
/// The first answer is an error, or there is no terminal. Later the screen shows errors, and the
/// server is asked again.
pub(super) fn run(mut exchange: Exchange) -> Result<(), ClientError> {
    let mut view = View::new(exchange.endpoint().to_string());
    view.take(feed::fetch(&mut exchange, &view.query()), Instant::now());
    if let Some(error) = view.error() {
        return Err(error.clone());
    }
    let (sender, events) = mpsc::channel();
    let screen = Screen::open(&sender)?;
    let feed = Feed::start(exchange, sender)?;
    let mut drawn_size = None;
    let mut asker = Asker { feed, asked: None, due_at: Instant::now() + INTERVAL };
    loop {
        let now = Instant::now();
        asker.ask(&view.query(), now);
        let size = terminal_size().unwrap_or((80, 24));
        let is_resized = drawn_size.replace(size) != Some(size);
        screen.draw(&frame::encode(&frame::lines(&mut view, size, now), is_resized))?;
        let first = match events.recv_timeout(asker.wait(now)) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        // One frame for all that has come.
        for event in std::iter::once(first).chain(events.try_iter()) {
            match event {
                Event::Answer(answer) => asker.take(&mut view, answer),
                Event::Input(Input::Keys(bytes)) => {
                    for key in keys::parse(&bytes) {
                        match view.press(key, Instant::now()) {
                            Effect::None => {}
                            Effect::Quit => return Ok(()),
                            Effect::Ask => asker.hurry(),
                            Effect::Kick(id) => asker.feed.kick(id),
                        }
                    }
                }
                Event::Input(Input::Resized) => {}
                Event::Input(Input::Interrupted | Input::Closed) => return Ok(()),
                Event::Input(Input::Suspended) => screen.suspend(),
                Event::Input(Input::Continued) => screen.enter(),
            }
        }
    }
}

/// When the server is asked: every second, one request at a time.
#[derive(Debug)]
struct Asker {
    feed: Feed,
    /// The query that has no answer yet.
    asked: Option<Query>,
    due_at: Instant,
}

impl Asker {
    fn ask(&mut self, query: &Query, now: Instant) {
        if self.asked.is_none() && now >= self.due_at {
            self.feed.ask(query.clone());
            self.asked = Some(query.clone());
            self.due_at = now + INTERVAL;
        }
    }

    /// The time until the next frame.
    fn wait(&self, now: Instant) -> Duration {
        match self.asked {
            Some(_) => INTERVAL,
            None => self.due_at.saturating_duration_since(now).min(INTERVAL),
        }
    }

    /// Has the server asked as soon as it may be.
    fn hurry(&mut self) {
        self.due_at = Instant::now();
    }

    fn take(&mut self, view: &mut View, answer: Answer) {
        let now = Instant::now();
        match answer {
            Answer::Fetched(result) => {
                // Of another order or listener than is wanted by now.
                let is_outdated =
                    self.asked.take().is_some_and(|asked| !asked.is_like(&view.query()));
                if is_outdated {
                    self.hurry();
                } else {
                    view.take(*result, now);
                }
            }
            Answer::Kicked { id, result } => {
                view.say(
                    match result {
                        Ok(_) => format!("#{id} kicked"),
                        Err(error) => format!("#{id}: {error}"),
                    },
                    now,
                );
                self.hurry();
            }
        }
    }
}
