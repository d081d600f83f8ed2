//! What the book and the README show is true: configurations are judged by the parser, commands run, and the examples that
//! verify signatures stand behind the proxy. Blocks marked `console` need the usual ports, a build or a server; those are run
//! by `book_servers.rs`, word for word or in the place of another name for the same program.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};

use e2e::certificate::Certificate;
use e2e::client::Client;
use e2e::environment::{self, binary, node_script, python, root};
use e2e::eventually::until;
use e2e::fixture::ANA;
use e2e::ports;
use e2e::proxy::run_to_end;
use e2e::stores::Stores;
use tokio::process::Command;

use crate::setup::Site;

/// What a configuration needs besides what a block shows: a section is left out where the block has it.
const BASE: [(&str, &str); 5] = [
    ("[[listen]]", "[[listen]]\naddress = \"127.0.0.1:1\"\n"),
    ("[store]", "[store]\nkind = \"redis\"\nurl = { env = \"REDIS_URL\" }\n"),
    ("[directory]", "[directory]\nkind = \"postgres\"\nurl = { env = \"DATABASE_URL\" }\n"),
    (
        "[keys]",
        "[keys]\ntoken = [{ id = \"t\", secret = { env = \"SECRET\" } }]\nhmac = [{ id = \"h\", secret = { env = \"SECRET\" } }]\n\
         csrf = [{ id = \"c\", secret = { env = \"SECRET\" } }]\n\
         jwt = [{ id = \"j\", algorithm = \"HS256\", secret = { env = \"SECRET\" } }]\n",
    ),
    ("[[upstream]]", "[[upstream]]\nname = \"captions\"\nservers = [\"127.0.0.1:2\"]\n"),
];

/// One fenced block.
pub(crate) struct Block {
    pub(crate) page: String,
    pub(crate) line: usize,
    pub(crate) kind: String,
    pub(crate) text: String,
}

/// All blocks of a page, in their order.
fn blocks(page: &Path) -> Vec<Block> {
    let (mut found, mut open) = (Vec::new(), None::<Block>);
    for (number, line) in fs::read_to_string(page).unwrap().lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(kind), None) => {
                let page = page.strip_prefix(root()).unwrap().display().to_string();
                open = Some(Block { page, line: number + 1, kind: kind.to_owned(), text: String::new() });
            }
            (Some(_), Some(block)) => found.push(block),
            (None, Some(mut block)) => {
                block.text += line;
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{} has a block without end", page.display());
    found
}

/// The blocks of the README and of every page that the table of contents names.
pub(crate) fn book() -> Vec<Block> {
    let docs = root().join("docs");
    let contents = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let named = contents.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let pages: Vec<_> = named.map(|name| docs.join(name)).collect();
    assert!(pages.len() > 15, "the table of contents was not read");
    pages.iter().chain([&root().join("README.md")]).flat_map(|page| blocks(page)).collect()
}

#[test]
fn every_page_is_in_the_table_of_contents_and_every_link_leads_somewhere() {
    let docs = root().join("docs");
    let contents = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    for entry in fs::read_dir(&docs).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_page = Path::new(&name).extension().is_some_and(|end| end == "md") && name != "SUMMARY.md";
        assert!(!is_page || contents.contains(&format!("]({name})")), "docs/SUMMARY.md lacks {name}");
        if !is_page && name != "SUMMARY.md" {
            continue;
        }
        let text = fs::read_to_string(docs.join(&name)).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let outside = link.contains("://") || link.is_empty();
            assert!(outside || docs.join(link).exists(), "docs/{name} leads to {link}, which is not there");
        }
    }
}

#[test]
fn every_configuration_in_the_book_is_valid() {
    let directory = tempfile::tempdir().unwrap();
    let mappings = directory.path().join("mappings");
    fs::create_dir(&mappings).unwrap();
    for entry in fs::read_dir(root().join("config/mappings")).unwrap() {
        let from = entry.unwrap().path();
        fs::copy(&from, mappings.join(from.file_name().unwrap())).unwrap();
    }
    let mut judged = 0;
    // Those of the session formats are judged beside the formats, with secrets of the right kind.
    let beside =
        |page: &str| page.ends_with("session-formats.md") || page.ends_with("bring-your-sessions.md");
    for block in book().iter().filter(|block| block.kind == "toml" && !beside(&block.page)) {
        let file = directory.path().join("countersign.toml");
        fs::write(&file, in_place(&completed(&block.text), directory.path())).unwrap();
        let output = check(&file);
        assert!(output.status.success(), "{}:{}\n{}", block.page, block.line, said(&output));
        judged += 1;
    }
    assert!(judged > 7, "only {judged} configurations were found");
    for name in
        ["packaging/debian/countersign.toml", "packaging/compose/countersign.toml", "config/production.toml"]
    {
        let text = fs::read_to_string(root().join(name)).unwrap();
        let file = directory.path().join("countersign.toml");
        fs::write(&file, in_place(&text, directory.path())).unwrap();
        assert!(check(&file).status.success(), "{name}: {}", said(&check(&file)));
    }
}

/// A block with what else a configuration needs. Keys before the first section stay at the top.
fn completed(block: &str) -> String {
    let missing: String = BASE
        .iter()
        .filter(|(header, _)| !block.lines().any(|line| line.starts_with(header)))
        .map(|(_, text)| *text)
        .collect();
    match block.lines().position(|line| line.starts_with('[')) {
        Some(0) => format!("{missing}\n{block}"),
        _ => format!("{block}\n{missing}"),
    }
}

/// The same with every file that it names in `directory`, where it is made.
pub(crate) fn in_place(text: &str, directory: &Path) -> String {
    let certificate = Certificate::new();
    let (certificate, key) = certificate.write_to(directory);
    fs::write(directory.join("secret"), "0123456789abcdef0123456789abcdef0123456789abcdef").unwrap();
    let pem = run_to_end(&["key", "new", "jwt"]).stdout;
    fs::write(directory.join("jwt.pem"), pem).unwrap();
    let place = |word: &str, value: &str| -> String {
        let path = match word {
            "certificate" | "ca" | "client_ca" => certificate.clone(),
            "key" => key.clone(),
            "file" if value.contains("jwt") => directory.join("jwt.pem"),
            "file" => directory.join("secret"),
            "path" if value.ends_with(".sqlite") => directory.join("directory.sqlite"),
            _ => return value.to_owned(),
        };
        path.display().to_string()
    };
    let mut pieces = text.split('"');
    let mut result = pieces.next().unwrap().to_owned();
    let mut inside = true;
    for piece in pieces {
        let word = result
            .trim_end()
            .trim_end_matches('=')
            .trim_end()
            .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
            .next();
        let shown = if inside { place(word.unwrap_or_default(), piece) } else { piece.to_owned() };
        result = format!("{result}\"{shown}");
        inside = !inside;
    }
    result
}

fn check(file: &Path) -> Output {
    let mut command = std::process::Command::new(binary());
    command
        .arg("check")
        .arg(file)
        .env("REDIS_URL", "redis://127.0.0.1:1/0")
        .env("DATABASE_URL", "postgres://a:b@127.0.0.1:1/c");
    command.env("APP_KEY", "base64:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    for name in ["SECRET", "SESSION_SECRET"] {
        command.env(name, "0123456789abcdef0123456789abcdef");
    }
    command.output().expect("the binary was built")
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_in_the_book_runs() {
    let site = Site::start(Stores::embedded()).await;
    site.logged_in(ANA).await;
    let tools = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(binary(), tools.path().join("countersign")).unwrap();
    let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap());
    let mut ran = 0;
    // Those of the README build with cargo; `book_servers.rs` looks at them.
    for block in book().iter().filter(|block| block.kind == "sh" && block.page != "README.md") {
        let scratch = tempfile::tempdir().unwrap();
        fs::copy(site.proxy.config(), scratch.path().join("countersign.toml")).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-eu", "-c", &block.text]).current_dir(scratch.path()).env("PATH", &path);
        shell.env("COUNTERSIGN_ADMIN_TOKEN", site.proxy.secret("admin-token"));
        let output = environment::run(&mut shell, b"").await;
        assert!(output.status.success(), "{}:{}\n{}\n{}", block.page, block.line, block.text, said(&output));
        ran += 1;
    }
    assert!(ran > 4, "only {ran} blocks were found");
}

#[test]
fn every_block_is_of_a_kind_that_some_test_looks_at() {
    let kinds = ["toml", "sh", "console", "text", "python", "js", "rust", "nginx", "sql", "mermaid"];
    for block in book() {
        assert!(
            kinds.contains(&block.kind.as_str()),
            "{}:{} is a block of no known kind",
            block.page,
            block.line
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_let_the_proxy_in_and_nobody_else() {
    let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let site = Site::with(Stores::embedded(), |builder| {
        builder.upstream("captions", address, "").route("/captions/", "captions", "\"session\"", "")
    })
    .await;
    let browser = site.logged_in(ANA).await;
    let derive = ["key", "derive", "captions", "--config", site.proxy.config().to_str().unwrap()];
    let key = String::from_utf8(run_to_end(&derive).stdout).unwrap().trim().to_owned();
    let (mut tried, scratch) = (0, tempfile::tempdir().unwrap());
    for block in book() {
        let mut command = match block.kind.as_str() {
            "python" if block.text.contains("Flask(__name__)") => in_python(&block, scratch.path(), address),
            "js" if block.text.contains("express()") => in_node(&block, address),
            _ => continue,
        };
        command
            .env("COUNTERSIGN_KEY", &key)
            .env("COUNTERSIGN_JWKS", format!("http://{}/jwks.json", site.proxy.addresses().admin));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut application = command.kill_on_drop(true).spawn().unwrap();
        until("the example listens", async || tokio::net::TcpStream::connect(address).await.is_ok()).await;
        let answer = browser.get("/captions/a%20b?c=d").send().await;
        assert_eq!(answer.status, 200, "{}:{} {}", block.page, block.line, answer.text());
        let context = answer.json();
        let user = context["user-id"].as_str().or(context["sub"].as_str());
        assert_eq!(user, Some(ANA), "{}:{} {context}", block.page, block.line);
        for forged in [("x-context-user-id", ANA), ("x-context-jwt", "e30.e30.")] {
            let around = Client::new(address).get("/captions/").header("x-context-authn", "session");
            around.header(forged.0, forged.1).send().await.expect(403);
        }
        application.kill().await.unwrap();
        until("the port is free", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
        tried += 1;
    }
    assert!(tried >= 6, "only {tried} examples were found");
}

fn in_python(block: &Block, scratch: &Path, address: SocketAddr) -> Command {
    let file = scratch.join("example.py");
    let rest = format!(
        "\n@app.get('/captions/<path:page>')\n@app.get('/captions/')\ndef shown(page=''):\n    return g.context\n\n\
         app.run('127.0.0.1', {}, threaded=True)\n",
        address.port()
    );
    fs::write(&file, block.text.clone() + &rest).unwrap();
    let mut command = Command::new(python());
    command.arg(file).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// The script lies beside the packages that it imports.
fn in_node(block: &Block, address: SocketAddr) -> Command {
    let folder = node_script("browser/demo.mjs").parent().unwrap().to_path_buf();
    let file = folder.join(format!("example-{}.mjs", address.port()));
    let rest = format!(
        "\napp.get('/captions/{{*page}}', (request, response) => response.json(request.context));\n\
         app.listen({}, '127.0.0.1');\n",
        address.port()
    );
    fs::write(&file, block.text.clone() + &rest).unwrap();
    let mut command = Command::new("node");
    command.arg(file);
    command
}
