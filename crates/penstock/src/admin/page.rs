//! The status page at `/`: static files, embedded, that ask `/api/status` from the browser. Nothing of the worker is in them.

use hyper::StatusCode;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY};

use super::answers::{Answer, with_type};

/// Only what this server serves, nothing inline, nobody's frame: names of streams and texts of errors are other people's words.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// Path, type, content.
const FILES: [(&str, &str, &str); 9] = [
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/page/page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ("/page/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("/page/main.js", JAVASCRIPT, include_str!("page/main.js")),
    ("/page/poll.js", JAVASCRIPT, include_str!("page/poll.js")),
    ("/page/model.js", JAVASCRIPT, include_str!("page/model.js")),
    ("/page/words.js", JAVASCRIPT, include_str!("page/words.js")),
    ("/page/panels.js", JAVASCRIPT, include_str!("page/panels.js")),
    ("/page/shards.js", JAVASCRIPT, include_str!("page/shards.js")),
];
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The file under a path.
pub(super) fn file(path: &str) -> Option<Answer> {
    let (_, content_type, content) = FILES.iter().find(|(name, ..)| *name == path)?;
    let mut answer = with_type(StatusCode::OK, content_type, *content);
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    answer.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_name_each_other_and_nobody_else() {
        for (path, _, content) in FILES {
            assert!(file(path).is_some(), "{path}");
            let outside = content.replace("http://www.w3.org/2000/svg", "");
            assert!(!outside.contains("http://") && !outside.contains("https://"), "{path} names another place");
            for word in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=\"", " onclick="]
            {
                assert!(!content.contains(word), "{path}: {word}");
            }
        }
        let linked = |content: &str| FILES.iter().filter(|(path, ..)| content.contains(&path[1..])).count();
        assert!(linked(FILES[0].2) >= 4, "the page links its style, its icon and its script");
    }
}
