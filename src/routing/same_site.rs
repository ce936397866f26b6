//! The attribute `SameSite` of cookies, and the browsers that misread `None`.

/// The values of `SameSite` (RFC 6265bis section 5.6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SameSite {
    /// Sent with requests of other sites too.
    None,
    /// Sent when a link leads here.
    Lax,
    /// Never sent with requests of other sites.
    Strict,
}

impl SameSite {
    /// Returns the value of the attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Lax => "Lax",
            Self::Strict => "Strict",
        }
    }
}

/// Returns true if a browser of this name (`User-Agent`) takes cookies with `SameSite=None` for
/// strict ones or drops them: those of iOS 12 and Safari of macOS 10.14, Chrome 51 to 66, and UC
/// Browser before 12.13.2, by the list that Chromium publishes.
pub fn misreads_none(user_agent: &str) -> bool {
    let has = |part: &str| user_agent.contains(part);
    let numbers = |behind: &str| -> Option<Vec<u32>> {
        let (_, rest) = user_agent.split_once(behind)?;
        let rest = rest
            .split(|c: char| !c.is_ascii_digit() && c != '.')
            .next()?;
        Some(
            rest.split('.')
                .map_while(|part| part.parse().ok())
                .collect(),
        )
    };

    let is_ios_12 = [
        "iPhone; CPU iPhone OS 12_",
        "iPad; CPU OS 12_",
        "iPod touch; CPU iPhone OS 12_",
    ];
    if is_ios_12.into_iter().any(has) {
        return true;
    }

    if has("Macintosh;") && has("Mac OS X 10_14") && has("AppleWebKit/") {
        let is_safari = has("Version/") && has("Safari/") && !has("Chrome");
        let is_embedded = user_agent.ends_with("(KHTML, like Gecko)");
        return is_safari || is_embedded;
    }

    if let Some(version) = numbers("UCBrowser/") {
        return version < vec![12, 13, 2];
    }
    let chrome = numbers("Chrome/").or_else(|| numbers("Chromium/"));
    let major = chrome.and_then(|version| version.first().copied());
    major.is_some_and(|major| (51..=66).contains(&major))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_browsers_misread_none() {
        const CHROME: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 \
                              (KHTML, like Gecko) Chrome/VERSION Safari/537.36";
        const SAFARI: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_VERSION) \
                              AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.0 Safari/605";
        const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS VERSION like Mac OS X) \
                             AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.0 Safari/604";
        const UC: &str = "Mozilla/5.0 (Linux; U; Android 9) UCBrowser/VERSION Mobile Safari/537.36";
        for (text, version, expected) in [
            (CHROME, "50.0.1", false),
            (CHROME, "51.0.2704.79", true),
            (CHROME, "66.0", true),
            (CHROME, "67.0.3396.99", false),
            (CHROME, "131.0.0.0", false),
            (SAFARI, "14_6", true),
            (SAFARI, "15_7", false),
            (PHONE, "12_5", true),
            (PHONE, "13_1", false),
            (UC, "12.13.1", true),
            (UC, "12.13.2", false),
            (UC, "13.4", false),
        ] {
            let user_agent = text.replace("VERSION", version);
            assert_eq!(misreads_none(&user_agent), expected, "{user_agent}");
        }

        let chrome = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_14_6) AppleWebKit/537.36 \
                      (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36";
        assert!(!misreads_none(chrome) && !misreads_none("curl/8") && !misreads_none(""));
    }
}
