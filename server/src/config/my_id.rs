//! The `myid` file.

use zk_proto::ServerId;

use super::error::Problem;
use super::members::server_id;

/// Reads the content of the `myid` file at `path`: the id is its first line.
///
/// Blanks around the number and a byte order mark are forgiven, where the reference refuses
/// them.
///
/// # Errors
///
/// A first line that is not a number; names path and line.
pub fn parse(path: &str, content: &[u8]) -> Result<ServerId, Problem> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let first = content
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = String::from_utf8_lossy(first);
    server_id(line.trim()).map_err(|_| {
        Problem::new(
            None,
            "",
            format!(
                "myid file {path}: {:?} is not a number",
                line.trim_end_matches('\r')
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_id() {
        for content in [
            "1",
            "1\n",
            "1\r\n",
            "+1\n",
            "1 \n",
            " 1",
            "\u{feff}1\n",
            "1\n2\n",
        ] {
            let id = parse("/d/myid", content.as_bytes());
            assert_eq!(id, Ok(ServerId::new(1)), "{content:?}");
        }
    }

    #[test]
    fn anything_else_is_named_with_the_path() {
        for content in ["", "abc", "\n1\n", "1 2", "0x1"] {
            let problem = parse("/d/myid", content.as_bytes()).expect_err(content);
            assert!(
                problem.to_string().starts_with("myid file /d/myid: \""),
                "{problem}"
            );
        }
    }
}
