//! The two formats that Prometheus reads.

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>
    Prometheus,
    /// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
    OpenMetrics,
}

impl Format {
    /// The one that a scraper asks for; the older one unless it names the newer.
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.split(',').any(takes_open_metrics) => Self::OpenMetrics,
            Some(_) | None => Self::Prometheus,
        }
    }

    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Whether a media range of an `Accept` header names the newer format, and not to refuse it (RFC 9110, 12.4.2).
fn takes_open_metrics(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let is_named = parts
        .next()
        .is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
    let quality = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        let is_quality = name.trim().eq_ignore_ascii_case("q");
        is_quality.then(|| value.trim().parse::<f32>().ok())?
    });
    is_named && quality.is_none_or(|quality| quality > 0.0)
}

/// Rewrites OpenMetrics as the older format. Of what we write they differ in two things: a counter's family has the
/// name of its series there, and there is no end mark.
pub(super) fn as_prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 4096);
    let mut lines = open_metrics.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let is_counter = lines.peek().is_some_and(|next| next.ends_with(" counter\n"));
            push_named(&mut text, "# HELP ", help, is_counter);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            push_named(&mut text, "# TYPE ", kind, kind.ends_with(" counter\n"));
        } else if line != "# EOF\n" {
            text.push_str(line);
        }
    }
    text
}

fn push_named(text: &mut String, mark: &str, line: &str, is_counter: bool) {
    let (name, rest) = line.split_at(line.find(' ').unwrap_or(line.len()));
    text.push_str(mark);
    text.push_str(name);
    if is_counter {
        text.push_str("_total");
    }
    text.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counters_family_is_named_as_its_series_in_the_older_format() {
        let open_metrics = "# HELP calls Calls.\n# TYPE calls counter\ncalls_total{call=\"List\"} 3\n\
                            # HELP vms VMs.\n# TYPE vms gauge\nvms 2\n# EOF\n";
        let expected = "# HELP calls_total Calls.\n# TYPE calls_total counter\ncalls_total{call=\"List\"} 3\n\
                        # HELP vms VMs.\n# TYPE vms gauge\nvms 2\n";
        assert_eq!(as_prometheus(open_metrics), expected);
    }

    #[test]
    fn the_newer_format_is_for_those_that_name_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::accepted(Some(prometheus)), Format::OpenMetrics);
        let refused = "application/openmetrics-text; version=1.0.0; q=0, text/plain";
        let shouted = "Application/OpenMetrics-Text;Q=0";
        for other in [
            None,
            Some("*/*"),
            Some("text/plain"),
            Some(refused),
            Some(shouted),
        ] {
            assert_eq!(Format::accepted(other), Format::Prometheus);
        }
    }
}
