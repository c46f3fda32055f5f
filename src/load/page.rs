//! The common parts of all pages: frame and style, headline, warnings, tiles, facts and tables. A page is one
//! file that fetches nothing and runs no script; `maud` escapes every text.
//!
//! Knows no records: [`html_report`](super::html_report) fills it with those of a run.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The browser fetches and runs nothing, whatever a text of the target had managed to become.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

const STYLE: &str = "
:root { color-scheme: light dark; --page: #f6f7f9; --panel: #fff; --ink: #1c2128; --soft: #59636e;
  --grid: #e3e7ec; --axis: #9aa4af; --a: #1f6feb; --b: #bc4c00; --c: #8250df; --d: #b8336a; --lag: #6e7781;
  --bad: #c4314b; --good: #1a7f37; --warn: #8a5a00; --warned: #fff6dd; }
@media (prefers-color-scheme: dark) {
  :root { --page: #0f1318; --panel: #171c23; --ink: #e4e8ed; --soft: #9aa5b1; --grid: #2a313b;
    --axis: #596573; --a: #58a6ff; --b: #f0883e; --c: #bc8cff; --d: #ff80b5; --lag: #8b949e; --bad: #ff7b86;
    --good: #4ac26b; --warn: #e3b341; --warned: #2b2411; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px; max-width: 1240px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; }
h1 { font-size: 22px; line-height: 1.3; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 16px; margin: 0; }
.verdict { margin: 6px 0 20px; font-weight: 600; overflow-wrap: anywhere; }
.good { color: var(--good); } .poor { color: var(--bad); }
.warnings { margin: -6px 0 20px; padding: 10px 14px 10px 32px; background: var(--warned); border: 1px solid var(--warn);
  border-radius: 8px; } .warnings li::marker { color: var(--warn); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; }
.tiles div, figure, .facts, details, section { background: var(--panel); border: 1px solid var(--grid); border-radius: 8px; }
.tiles div { padding: 10px 14px; } .tiles span { display: block; color: var(--soft); font-size: 13px; }
.tiles b { font-size: 20px; font-weight: 600; overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 16px; margin: 16px 0; }
/* An odd number of charts leaves a cell for the facts; an even number a row. */
.charts > .facts:nth-child(odd) { grid-column: 1 / -1; }
figure { margin: 0; padding: 16px; }
figcaption p { margin: 2px 0 8px; color: var(--soft); font-size: 13px; }
svg { display: block; width: 100%; height: auto; } svg.narrow { display: none; }
.grid { stroke: var(--grid); } .axis { stroke: var(--axis); }
line.mark { stroke: var(--axis); stroke-dasharray: 3 3; } text { fill: var(--soft); font-size: 12px; stroke: none; }
text.mark { fill: var(--soft); font-size: 11px; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.line.a, .dot.a { stroke: var(--a); } .line.b, .dot.b { stroke: var(--b); } .line.c, .dot.c { stroke: var(--c); } .line.d, .dot.d { stroke: var(--d); }
.line.bad, .dot.bad { stroke: var(--bad); } .line.lag { stroke: var(--lag); stroke-dasharray: 4 4; } .dot.lag { stroke: var(--lag); }
.dot.a, .area.a { fill: var(--a); } .dot.b, .area.b { fill: var(--b); } .dot.bad { fill: var(--bad); }
.dot.c, .area.c { fill: var(--c); } .dot.d, .area.d { fill: var(--d); } .dot.lag { fill: var(--lag); }
.area { opacity: .13; } .note { fill: transparent; } .note:hover { fill: var(--axis); fill-opacity: .5; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 0 18px; margin: 0 0 4px; padding: 0; font-size: 13px; color: var(--soft); }
.legend li::before { content: ''; display: inline-block; width: 16px; height: 3px; margin-right: 6px; vertical-align: 4px; }
.legend .a::before { background: var(--a); } .legend .b::before { background: var(--b); } .legend .bad::before { background: var(--bad); }
.legend .c::before { background: var(--c); } .legend .d::before { background: var(--d); }
.legend .lag::before { background: repeating-linear-gradient(90deg, var(--lag) 0 4px, transparent 4px 8px); }
.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); align-content: start; gap: 4px 18px; margin: 0; padding: 16px; font-size: 13px; }
.facts dt { color: var(--soft); } .facts dd { margin: 0; overflow-wrap: anywhere; }
section { margin: 16px 0; padding: 12px 16px; overflow-x: auto; } section > p { margin: 2px 0 0; color: var(--soft); font-size: 13px; }
details { padding: 12px 16px; overflow-x: auto; } summary { cursor: pointer; }
table { border-collapse: collapse; margin-top: 10px; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 12px 3px 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--grid); }
th { color: var(--soft); font-weight: 500; }
.named th:first-child, .named td:first-child { text-align: left; }
@media (max-width: 1100px) { .charts { grid-template-columns: minmax(0, 1fr); } }
@media (max-width: 600px) { body { padding: 12px; } h1 { font-size: 18px; } figure, .facts { padding: 10px; }
  svg.wide { display: none; } svg.narrow { display: block; } .tiles { grid-template-columns: 1fr 1fr; }
  .facts { grid-template-columns: 1fr; gap: 0; } .facts dd { margin-bottom: 6px; } .facts dt:empty { display: none; } }
footer { margin-top: 18px; color: var(--soft); font-size: 13px; }
@media print {
  :root { color-scheme: light; --page: #fff; --panel: #fff; --ink: #000; --soft: #444; --grid: #ddd; --axis: #888;
    --a: #1f6feb; --b: #bc4c00; --c: #8250df; --d: #b8336a; --lag: #6e7781; --bad: #c4314b; --good: #1a7f37;
    --warn: #8a5a00; --warned: #fff; }
  @page { margin: 14mm; }
  body { padding: 0; max-width: none; font-size: 12px; } .tiles b { font-size: 16px; }
  .tiles { grid-template-columns: repeat(4, 1fr); } .charts { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 10px; }
  .charts > .facts { grid-column: 1 / -1; }
  figure, .facts, section, .tiles div { break-inside: avoid; } svg.wide { display: block; } svg.narrow { display: none; }
  details:not([open]) { display: none; } }
";

/// How the headline reads: in the colour of success, of failure, or of neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    #[allow(dead_code, reason = "a comparison without a difference has it")]
    Neutral,
}

/// A headline figure with its label.
pub(super) type Tile = (String, String);

/// A page, from top to bottom.
pub(super) struct Page<'a> {
    pub(super) title: &'a str,
    /// One sentence in plain words.
    pub(super) verdict: &'a str,
    pub(super) tone: Tone,
    /// Sentences that say how far the figures can be trusted.
    pub(super) warnings: &'a [String],
    pub(super) tiles: &'a [Tile],
    /// Charts, facts and tables.
    pub(super) body: Markup,
    /// The tester, its host, and the time of the run.
    pub(super) footer: &'a str,
    /// The record, [`rendered`](super::island::render).
    pub(super) island: Option<Markup>,
}

impl Page<'_> {
    pub(super) fn render(&self) -> String {
        let class = match self.tone {
            Tone::Good => "verdict good",
            Tone::Bad => "verdict poor",
            Tone::Neutral => "verdict",
        };
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    h1 { (self.title) }
                    p class=(class) { (self.verdict) }
                    @if !self.warnings.is_empty() {
                        ul.warnings { @for warning in self.warnings { li { (warning) } } }
                    }
                    div.tiles {
                        @for (label, figure) in self.tiles { div { span { (label) } b { (figure) } } }
                    }
                    (self.body)
                    footer { (self.footer) }
                    @if let Some(island) = &self.island { (island) }
                }
            }
        };
        page.into_string()
    }
}

/// Renders labels with their facts. An empty label continues the fact before it.
pub(super) fn facts(facts: &[(String, Markup)]) -> Markup {
    html! { dl.facts { @for (label, fact) in facts { dt { (label) } dd { (fact) } } } }
}

/// Renders a table; the first column has names where `is_named`, else figures.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>], is_named: bool) -> Markup {
    html! {
        table.named[is_named] {
            thead { tr { @for heading in headings { th { (heading) } } } }
            tbody { @for row in rows { tr { @for cell in row { td { (cell) } } } } }
        }
    }
}

/// Renders a titled part of the page that is as wide as the page.
pub(super) fn section(title: &str, note: &str, content: &Markup) -> Markup {
    html! { section { h2 { (title) } @if !note.is_empty() { p { (note) } } (content) } }
}

/// Renders a part that is closed until the reader opens it.
pub(super) fn closed_section(title: &str, content: &Markup) -> Markup {
    html! { details { summary { (title) } (content) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(words: &str) -> String {
        let warnings = [words.to_owned()];
        let tiles = [(words.to_owned(), words.to_owned())];
        let rows = [vec![words.to_owned()]];
        let body = html! {
            (facts(&[(words.to_owned(), html! { (words) })]))
            (section(words, words, &table(&[words], &rows, true)))
            (closed_section(words, &table(&[words], &rows, false)))
        };
        let (title, verdict, footer) = (words, words, words);
        let tone = Tone::Neutral;
        let island = None;
        Page { title, verdict, tone, warnings: &warnings, tiles: &tiles, body, footer, island }
            .render()
    }

    #[test]
    fn page_escapes_every_text() {
        let text = page("<script>\"&'</script>");
        assert!(!text.contains("<script") && !text.contains("</script"), "{text}");
        assert_eq!(text.matches("&lt;script&gt;&quot;&amp;'&lt;/script&gt;").count(), 16);
    }

    #[test]
    fn page_fetches_nothing_and_runs_nothing() {
        let text = page("x");
        assert!(text.contains("content=\"default-src 'none'; style-src 'unsafe-inline';"));
        for outside in ["src=", "href=", "http:", "https:", "url(", "@import", "<link", "<script"] {
            assert!(!text.contains(outside), "{outside}");
        }
    }
}
