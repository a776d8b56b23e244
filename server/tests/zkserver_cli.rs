//! The verbs of the binary: what they print, and how they exit.

#[path = "support/place.rs"]
mod place;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use place::{Place, SOON, Said, said};
use zk_testkit::ensemble::free_port;

fn using(path: &Path) -> String {
    format!("Using config: {}\n", path.display())
}

#[test]
fn a_server_is_started_asked_and_stopped() {
    let place = Place::new();
    let port = place.port;
    let using = using(&place.path("zoo.cfg"));
    let expect = |arguments: &[&str], out: &str, code| {
        let got = place.run(arguments);
        let wanted = Said {
            out: out.to_owned(),
            err: using.clone(),
            code: Some(code),
        };
        assert_eq!(got, wanted, "{arguments:?}");
    };
    let found = format!("Client port found: {port}. Client address: 127.0.0.1. Client SSL: false.");
    let absent = format!(
        "Stopping zookeeper ... no zookeeper to stop (could not find file {})\n",
        place.pid_file().display()
    );
    let silent = place.run(&["status"]);
    assert_eq!(silent.code, Some(1));
    let lines: Vec<&str> = silent.out.lines().collect();
    assert_eq!(lines.first(), Some(&&*found));
    assert!(lines[1].contains("Connection refused"), "{silent:?}");
    assert_eq!(
        lines.last(),
        Some(&"Error contacting service. It is probably not running.")
    );

    expect(&["stop"], &absent, 0);
    expect(&["start"], "Starting zookeeper ... STARTED\n", 0);
    let pid = place.pid();
    let again = format!("Starting zookeeper ... already running as process {pid}.\n");
    expect(&["start"], &again, 1);
    expect(&["status"], &format!("{found}\nMode: standalone\n"), 0);
    expect(
        &["restart"],
        "Stopping zookeeper ... STOPPED\nStarting zookeeper ... STARTED\n",
        0,
    );
    assert_ne!(place.pid(), pid);
    expect(&["status"], &format!("{found}\nMode: standalone\n"), 0);
    expect(&["stop"], "Stopping zookeeper ... STOPPED\n", 0);
    assert!(!place.pid_file().exists());
    expect(&["stop"], &absent, 0);

    // Its log is where the script puts it, in the shape that readers of logs know, from the first start on.
    let logs = fs::read_dir(place.path("logs")).expect("a directory");
    let log = logs.flatten().next().expect("a log").path();
    let log = fs::read_to_string(log).expect("text");
    let serving = log.lines().find(|line| line.contains("serving address="));
    let serving = serving.expect("it served");
    assert!(serving.contains(" [myid:] - INFO  ["), "{serving}");
    assert_eq!(log.matches("terminated").count(), 2, "{log}");
}

#[test]
fn of_two_who_start_at_once_one_starts_and_its_server_can_be_stopped() {
    for _ in 0..3 {
        let place = Place::new();
        let start = || {
            let mut command = place.command();
            command.arg("start");
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("started")
        };
        let both = [start(), start()].map(|child| said(child.wait_with_output().expect("ran")));
        let begun = |said: &&Said| said.out == "Starting zookeeper ... STARTED\n";
        assert_eq!(both.iter().filter(begun).count(), 1, "{both:?}");
        let pid = place.pid();
        let late = format!("Starting zookeeper ... already running as process {pid}.\n");
        assert!(both.iter().any(|said| said.out == late), "{both:?}");
        assert_eq!(place.run(&["status"]).code, Some(0));
        let got = place.run(&["stop"]);
        assert_eq!(got.out, "Stopping zookeeper ... STOPPED\n");
        assert_eq!(place.run(&["status"]).code, Some(1));
        assert!(!place.pid_file().exists());
    }
}

#[test]
fn a_reason_of_an_earlier_start_is_not_told_again() {
    let place = Place::new();
    let good = fs::read_to_string(place.path("zoo.cfg")).expect("read");
    fs::write(place.path("zoo.cfg"), format!("{good}tickTime=x\n")).expect("written");
    let got = place.run(&["start"]);
    assert!(got.err.contains("tickTime=x"), "{got:?}");
    fs::write(place.path("zoo.cfg"), format!("{good}tickTime=y\n")).expect("written");
    let got = place.run(&["start"]);
    let is_told = |value: &str| got.err.contains(&format!("tickTime={value}"));
    assert!(is_told("y") && !is_told("x"), "{got:?}");
    let logs = fs::read_dir(place.path("logs")).expect("a directory");
    let log = logs.flatten().next().expect("a log").path();
    let log = fs::read_to_string(log).expect("text");
    assert!(
        log.contains("tickTime=x") && log.contains("tickTime=y"),
        "{log}"
    );
}

#[test]
fn a_pid_file_left_behind_starts_and_stops_nothing() {
    let place = Place::new();
    fs::create_dir_all(place.data()).expect("created");
    fs::write(place.pid_file(), "999999").expect("written");
    let got = place.run(&["stop"]);
    assert_eq!(got.out, "Stopping zookeeper ... STOPPED\n");
    assert!(
        got.err.ends_with("kill: (999999) - No such process\n"),
        "{got:?}"
    );
    assert_eq!(got.code, Some(0));
    // A process that lives and is no server is left alone.
    let mut other = Command::new("sleep").arg("60").spawn().expect("started");
    fs::write(place.pid_file(), other.id().to_string()).expect("written");
    let got = place.run(&["start"]);
    assert_eq!(got.out, "Starting zookeeper ... STARTED\n");
    assert_eq!(place.run(&["stop"]).code, Some(0));
    fs::write(place.pid_file(), other.id().to_string()).expect("written");
    assert_eq!(place.run(&["stop"]).code, Some(0));
    assert!(other.try_wait().expect("asked").is_none(), "it was killed");
    other.kill().expect("killed");
    other.wait().expect("gone");
}

#[test]
fn whoever_cannot_start_says_why() {
    let place = Place::new();
    let text = fs::read_to_string(place.path("zoo.cfg")).expect("read");
    fs::write(place.path("zoo.cfg"), format!("{text}tickTime=x\n")).expect("written");
    let cause = format!(
        "zkserver: {}:6: tickTime=x: ",
        place.path("zoo.cfg").display()
    );
    let got = place.run(&["start"]);
    assert_eq!(got.out, "Starting zookeeper ... FAILED TO START\n");
    assert!(got.err.contains(&cause), "{got:?}");
    assert_eq!(got.code, Some(1));
    assert!(!place.pid_file().exists());
    let got = place.run(&["start-foreground"]);
    assert!(
        got.err.contains("Invalid config, exiting abnormally\n") && got.err.contains(&cause),
        "{got:?}"
    );
    assert_eq!(got.code, Some(2));
    let got = place.run(&["check"]);
    assert!(got.err.contains(&cause) && got.code == Some(2), "{got:?}");
    fs::write(place.path("zoo.cfg"), text + "nosuch=1\n").expect("written");
    let got = place.run(&["check"]);
    assert!(
        got.out.contains("zoo.cfg:6: nosuch: unknown key"),
        "{got:?}"
    );
    assert!(
        got.out.ends_with("zoo.cfg: good\n") && got.code == Some(0),
        "{got:?}"
    );
}

#[test]
fn a_taken_port_is_named() {
    let place = Place::new();
    // A process that another test has begun to start may hold a copy of the socket that found the port free.
    let deadline = Instant::now() + SOON;
    let _taken = loop {
        match TcpListener::bind(("127.0.0.1", place.port)) {
            Ok(taken) => break taken,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(SOON / 1000);
    };
    let got = place.run(&["start-foreground"]);
    assert_eq!(got.code, Some(1), "{got:?}");
    let reason = format!(
        "cannot listen on 127.0.0.1:{}: Address already in use",
        place.port
    );
    assert!(got.err.contains(&reason), "{got:?}");
}

#[test]
fn missing_directories_are_not_made_when_that_is_off() {
    let place = Place::new();
    let mut command = place.command();
    command
        .env("ZOO_DATADIR_AUTOCREATE_DISABLE", "1")
        .arg("start");
    let got = said(command.output().expect("ran"));
    let complaint = format!(
        "ZooKeeper data directory is missing at {} fix the path or run initialize\n",
        place.data().display()
    );
    assert_eq!((got.out, got.code), (complaint, Some(1)));
    let mut command = place.command();
    command
        .env("ZOO_DATADIR_AUTOCREATE_DISABLE", "1")
        .arg("start-foreground");
    let got = said(command.output().expect("ran"));
    assert!(got.err.contains("missing data directory"), "{got:?}");
    assert_eq!(got.code, Some(3));
}

#[test]
fn a_configuration_is_a_name_in_its_directory_or_a_path() {
    let place = Place::new();
    let other = place.path("other");
    fs::create_dir(&other).expect("created");
    fs::write(
        other.join("zoo2.cfg"),
        "clientPort=1\nclientPortAddress=127.0.0.1\n",
    )
    .expect("written");
    let found = "Client port found: 1. Client address: 127.0.0.1. Client SSL: false.\n";
    let path = other.join("zoo2.cfg");
    let path = path.to_str().expect("text");
    let directory = other.to_str().expect("text");
    for arguments in [
        vec!["status", path],
        vec!["--config", directory, "status", "zoo2.cfg"],
    ] {
        let got = place.run(&arguments);
        assert!(got.out.starts_with(found), "{got:?}");
        assert_eq!(got.err, using(Path::new(path)));
    }
    let mut command = place.command();
    command.env("ZOOCFG", "zoo2.cfg").env("ZOOCFGDIR", &other);
    let got = said(command.arg("status").output().expect("ran"));
    assert_eq!(got.err, using(Path::new(path)));
}

#[test]
fn status_says_where_it_looked() {
    let place = Place::new();
    let got = place.run(&["status", "nosuch.cfg"]);
    assert_eq!(
        got.out,
        "myid could not be determined, will not able to locate clientPort in the server \
         configs.\nClient port not found. Looking for secureClientPort in the static config.\n\
         Unable to find either secure or unsecure client port in any configs. Terminating.\n"
    );
    assert_eq!(got.code, Some(1));
    // A member has its port in its own line, or in that of the dynamic file.
    let data = place.data();
    fs::create_dir(&data).expect("created");
    fs::write(data.join("myid"), "2\n").expect("written");
    let dynamic = place.path("dynamic");
    fs::write(&dynamic, "server.2=a:2:3;127.0.0.1:4\n").expect("written");
    let member = format!("dataDir={}\nserver.2=a:2:3;127.0.0.1:5\n", data.display());
    fs::write(place.path("member.cfg"), member).expect("written");
    let got = place.run(&["status", "member.cfg"]);
    assert!(
        got.out
            .starts_with("Client port found: 5. Client address: 127.0.0.1."),
        "{got:?}"
    );
    let split = format!(
        "dataDir={}\ndynamicConfigFile={}\n",
        data.display(),
        dynamic.display()
    );
    fs::write(place.path("split.cfg"), split).expect("written");
    let got = place.run(&["status", "split.cfg"]);
    assert!(
        got.out.starts_with(
            "Client port not found in static config file. Looking in dynamic config file.\n\
             Client port found: 4. Client address: 127.0.0.1."
        ),
        "{got:?}"
    );
}

#[test]
fn everything_else_is_answered_with_the_usage() {
    let place = Place::new();
    for arguments in [&[][..], &["upgrade"], &["bogus"]] {
        let got = place.run(arguments);
        assert!(
            got.err
                .contains("{start|start-foreground|stop|version|restart|status|print-cmd"),
            "{got:?}"
        );
        assert_eq!((&*got.out, got.code), ("", Some(2)));
    }
    let got = place.run(&["version"]);
    assert!(
        got.out.starts_with("Apache ZooKeeper, version 3.9.3-zk-"),
        "{got:?}"
    );
    let got = place.run(&["print-cmd"]);
    let command = format!(
        "start-foreground \"{}\" >> \"",
        place.path("zoo.cfg").display()
    );
    assert!(got.out.contains(&command), "{got:?}");
}

#[test]
fn a_member_with_the_id_zero_starts_and_leads() {
    let place = Place::new();
    let [quorum, election, admin] = free_ports();
    fs::create_dir(place.data()).expect("created");
    fs::write(place.data().join("myid"), "0\n").expect("written");
    let text = fs::read_to_string(place.path("zoo.cfg")).expect("read");
    let members = format!(
        "initLimit=10\nsyncLimit=5\nstandaloneEnabled=false\n\
         server.0=127.0.0.1:{quorum}:{election}\n"
    );
    let port = format!("admin.enableServer=true\nadmin.serverPort={admin}\n");
    let text = text.replace("admin.enableServer=false\n", &port);
    fs::write(place.path("zoo.cfg"), text + &members).expect("written");
    let got = place.run(&["check"]);
    assert!(got.out.contains("1 to 254 are recommended"), "{got:?}");
    let got = place.run(&["start", "--wait", "30"]);
    assert_eq!(got.out, "Starting zookeeper ... STARTED\n", "{got:?}");
    let got = place.run(&["status"]);
    assert!(got.out.ends_with("Mode: leader\n"), "{got:?}");
    let stats = get(admin, "/commands/server_stats").expect("told");
    let of_proposals = "\"proposal_stats\" : {\n    \"last_buffer_size\" : -1,\n";
    assert!(stats.contains(of_proposals), "{stats}");
}

#[test]
fn a_member_without_the_others_is_exported_as_looking() {
    let place = Place::new();
    let [exporter, one, two] = free_ports();
    fs::create_dir(place.data()).expect("created");
    fs::write(place.data().join("myid"), "1\n").expect("written");
    let text = fs::read_to_string(place.path("zoo.cfg")).expect("read");
    let members = format!(
        "initLimit=10\nsyncLimit=5\nserver.1=127.0.0.1:{one}:{two}\n\
         server.2=127.0.0.1:1:2\nserver.3=127.0.0.1:3:4\n\
         metricsProvider.className=\
         org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n\
         metricsProvider.httpHost=127.0.0.1\nmetricsProvider.httpPort={exporter}\n"
    );
    fs::write(place.path("zoo.cfg"), text + &members).expect("written");
    assert_eq!(place.run(&["start"]).code, Some(0));
    let deadline = Instant::now() + SOON;
    let scraped = loop {
        match get(exporter, "/metrics") {
            Ok(text) => break text,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(SOON / 1000);
    };
    let state = scraped
        .lines()
        .find(|line| line.starts_with("zks_server_state"));
    let state = state.expect("told");
    assert!(state.contains("state=\"looking\""), "{state}");
}

fn get(port: u16, path: &str) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    Ok(text)
}

fn free_ports<const N: usize>() -> [u16; N] {
    [(); N].map(|()| free_port().expect("a free port"))
}

#[test]
fn termination_and_interruption_are_a_clean_end() {
    for signal in ["-TERM", "-INT"] {
        let place = Place::new();
        let mut command = place.command();
        let mut child = command
            .arg("start-foreground")
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let deadline = Instant::now() + SOON;
        while place.run(&["status"]).code != Some(0) {
            assert!(Instant::now() < deadline, "it does not serve");
        }
        let killed = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(killed.expect("ran").success());
        assert_eq!(child.wait().expect("gone").code(), Some(0), "{signal}");
    }
}
