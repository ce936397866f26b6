//! Splits nginx configuration into directives and their words, as nginx does, and knows those that
//! cannot restrict access.

/// The deepest block that is read.
const MAX_DEPTH: usize = 4;

/// Directives of nginx about responses, buffers and timeouts, which never decide who comes in.
const HARMLESS_DIRECTIVES: &[&str] = &[
    "access_log",
    "add_header",
    "add_trailer",
    "brotli",
    "brotli_comp_level",
    "brotli_min_length",
    "brotli_types",
    "charset",
    "chunked_transfer_encoding",
    "client_body_buffer_size",
    "client_body_timeout",
    "client_max_body_size",
    "error_log",
    "etag",
    "expires",
    "gzip",
    "gzip_comp_level",
    "gzip_min_length",
    "gzip_proxied",
    "gzip_types",
    "gzip_vary",
    "keepalive_timeout",
    "large_client_header_buffers",
    "more_clear_headers",
    "more_set_headers",
    "proxy_buffer_size",
    "proxy_buffering",
    "proxy_buffers",
    "proxy_busy_buffers_size",
    "proxy_connect_timeout",
    "proxy_cookie_domain",
    "proxy_cookie_path",
    "proxy_hide_header",
    "proxy_http_version",
    "proxy_max_temp_file_size",
    "proxy_read_timeout",
    "proxy_redirect",
    "proxy_request_buffering",
    "proxy_send_timeout",
    "send_timeout",
    "sub_filter",
    "sub_filter_last_modified",
    "sub_filter_once",
    "sub_filter_types",
    "tcp_nodelay",
];

/// Request fields that decide nothing. A backend may trust any other field, and without the snippet
/// the client could send it.
const HARMLESS_FIELDS: &[&str] = &[
    "accept-encoding",
    "connection",
    "host",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-ssl",
    "x-real-ip",
    "x-request-id",
    "x-scheme",
];

/// A directive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directive {
    /// Its name and arguments, without quotes. Not empty.
    pub(super) words: Vec<String>,
    /// The directives of its block, if it has one.
    pub(super) block: Option<Vec<Self>>,
}

impl Directive {
    /// Returns the directive for people: on one line, and not too long.
    pub(super) fn text(&self) -> String {
        let mut text: String = self.words.join(" ").chars().take(80).collect();
        if self.block.is_some() {
            text.push_str(" {…}");
        }
        text
    }
}

/// Splits a text into directives. `None` if quotes or blocks do not end, or blocks are too deep.
pub(super) fn parse(text: &str) -> Option<Vec<Directive>> {
    let mut reader = Reader {
        rest: text.chars().peekable(),
    };
    let (all, end) = reader.directives(0)?;
    (end == End::Text).then_some(all)
}

/// Returns true if a directive cannot restrict access.
pub(super) fn is_harmless(directive: &Directive) -> bool {
    let is_known = match &directive.words[..] {
        [name, field, ..] if name == "proxy_set_header" => {
            HARMLESS_FIELDS.contains(&&*field.to_ascii_lowercase())
        }
        [name, ..] => HARMLESS_DIRECTIVES.contains(&&**name),
        [] => true,
    };
    is_known && directive.block.is_none()
}

/// The end of a list of directives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Text,
    Block,
}

struct Reader<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
}

impl Reader<'_> {
    /// Reads directives up to the end of the text or of the block.
    fn directives(&mut self, depth: usize) -> Option<(Vec<Directive>, End)> {
        let mut all = Vec::new();
        let mut words: Vec<String> = Vec::new();
        loop {
            let Some(&first) = self.rest.peek() else {
                // The last semicolon may be missing, as users of ingress-nginx write it.
                all.extend(directive(&mut words, None));
                return Some((all, End::Text));
            };

            match first {
                ';' => {
                    self.rest.next();
                    all.extend(directive(&mut words, None));
                }
                '}' if words.is_empty() && depth > 0 => {
                    self.rest.next();
                    return Some((all, End::Block));
                }
                '{' if !words.is_empty() && depth < MAX_DEPTH => {
                    self.rest.next();
                    let (block, end) = self.directives(depth + 1)?;
                    if end != End::Block {
                        return None;
                    }
                    all.extend(directive(&mut words, Some(block)));
                }
                '{' | '}' => return None,
                '#' => while self.rest.next().is_some_and(|next| next != '\n') {},
                blank if blank.is_whitespace() => {
                    self.rest.next();
                }
                '"' | '\'' => words.push(self.quoted()?),
                _ => words.push(self.word()?),
            }
        }
    }

    fn quoted(&mut self) -> Option<String> {
        let quote = self.rest.next()?;
        let mut word = String::new();
        loop {
            match self.rest.next()? {
                '\\' => match self.rest.next()? {
                    escaped if escaped == quote || escaped == '\\' => word.push(escaped),
                    // Escapes of regular expressions stay.
                    other => word.extend(['\\', other]),
                },
                end if end == quote => return Some(word),
                other => word.push(other),
            }
        }
    }

    fn word(&mut self) -> Option<String> {
        let mut word = String::new();
        while let Some(&next) = self.rest.peek() {
            match next {
                ';' => break,
                blank if blank.is_whitespace() => break,
                // `${name}` is a variable.
                '{' if word.ends_with('$') => {}
                '}' if word.contains("${") => {}
                '{' if word.ends_with(')') => break,
                '{' | '}' => return None,
                _ => {}
            }
            word.push(next);
            self.rest.next();
        }
        Some(word)
    }
}

/// Makes a directive of the words so far; `None` without any.
fn directive(words: &mut Vec<String>, block: Option<Vec<Directive>>) -> Option<Directive> {
    let words = std::mem::take(words);
    (!words.is_empty()).then_some(Directive { words, block })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<String>> {
        let directives = parse(text).expect("configuration");
        directives.into_iter().map(|one| one.words).collect()
    }

    #[test]
    fn directives_are_split_as_by_nginx() {
        let text = "# a comment; {\n add_header X-A \"a; b\" always;;\nreturn 403";
        assert_eq!(
            words(text),
            [
                vec!["add_header", "X-A", "a; b", "always"],
                vec!["return", "403"]
            ]
        );
        assert_eq!(words("a ${b}c '\\'d\\.e';"), [["a", "${b}c", "'d\\.e"]]);
        assert!(words(" \n").is_empty());
    }

    #[test]
    fn blocks_belong_to_their_directive() {
        let parsed = parse("if ($http_x = \"a b\") { return 403; } etag on;").expect("a block");
        assert_eq!(parsed.len(), 2);
        assert_eq!(parsed[0].words, ["if", "($http_x", "=", "a b", ")"]);
        let block = parsed[0].block.as_deref().expect("a block");
        assert_eq!(block[0].words, ["return", "403"]);
        assert_eq!(parsed[0].text(), "if ($http_x = a b ) {…}");
        assert!(parse("if ($a){return 403;}").is_some());
    }

    #[test]
    fn what_does_not_end_is_no_configuration() {
        for text in [
            "a 'b",
            "a \"b",
            "if ($a) {",
            "}",
            "{ }",
            "a } b;",
            "a{b;}",
            "a {b {c {d {e {f;}}}}}",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_configuration_or_not(text in "[a{}; '\"#$\\\\\n]{0,40}") {
            let _ = parse(&text);
        }
    }
}
