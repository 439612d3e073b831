//! Of files in folders of their own.

use super::*;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("weir-source-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn write(path: &Path, text: &str, age: u64) {
    std::fs::write(path, text).expect("written");
    let then = now() - Duration::from_secs(age);
    File::options().write(true).open(path).and_then(|file| file.set_modified(then)).expect("a time");
}

fn shown(texts: &[Text]) -> Vec<&str> {
    texts.iter().map(|text| &*text.text).collect()
}

/// Same length, same time of modification: a file written a moment ago is read again.
#[test]
fn a_change_within_the_same_tick_is_seen() {
    let folder = folder("tick");
    let (file, paths) = (folder.join("a.yaml"), [folder.clone()]);
    let mut reader = Reader::default();
    for text in ["one", "two", "one", "six"] {
        write(&file, text, 3600);
        let texts = reader.read(&paths, &Change::Anything).texts;
        assert_eq!(shown(&texts), [text]);
        reader.keep(texts);
    }
}

#[test]
fn a_settled_file_is_as_it_was_until_its_facts_change() {
    let folder = folder("settled");
    let (file, paths) = (folder.join("a.yaml"), [folder.clone()]);
    write(&file, "one", 3600);
    let mut reader = Reader::default();
    let mut texts = reader.read(&paths, &Change::Anything).texts;
    // It was written just now: as if the clock had gone on, and with other words than the file has.
    reader.files.iter_mut().for_each(|known| known.settled = true);
    texts[0].text = "marked".into();
    reader.keep(texts);
    let text = reader.read(&paths, &Change::Anything).texts.remove(0);
    assert_eq!(&*text.text, "marked", "it was not read again");
    reader.keep(vec![text]);
    write(&file, "four", 3600);
    assert_eq!(shown(&reader.read(&paths, &Change::Anything).texts), ["four"]);
}

#[test]
fn files_stand_in_path_order_and_only_once() {
    let folder = folder("order");
    std::fs::create_dir(folder.join("b")).expect("a folder");
    for (name, text) in
        [("b/z.yaml", "3"), ("a.yaml", "1"), ("b-a.yaml", "4"), ("a.yml", "2"), (".hidden.yaml", "0"), ("x.txt", "0")]
    {
        write(&folder.join(name), text, 0);
    }
    let alone = read(std::slice::from_ref(&folder));
    assert_eq!(shown(&alone.0), ["1", "2", "3", "4"]);
    let twice = read(&[folder.join("b-a.yaml"), folder.clone(), folder.join("b")]);
    assert_eq!(shown(&twice.0), shown(&alone.0));
}

#[test]
fn a_text_that_is_too_large_is_refused_by_its_length() {
    let folder = folder("large");
    let file = folder.join("a.yaml");
    File::create(&file).and_then(|file| file.set_len(99 << 20)).expect("a sparse file");
    let (texts, problems) = read(&[file]);
    assert!(texts.is_empty());
    assert_eq!(problems[0].code, Code::Bounds);
    assert!(problems[0].words.contains("103809024 bytes"), "{}", problems[0].words);
}

#[test]
fn what_is_not_utf8_is_a_finding_with_a_place() {
    let folder = folder("bytes");
    let file = folder.join("a.yaml");
    std::fs::write(&file, b"a: 1\nb: \xc3\xa4\xff").expect("written");
    let (texts, problems) = read(&[file]);
    assert!(texts.is_empty());
    assert_eq!((problems[0].code, problems[0].place.line, problems[0].place.column), (Code::Syntax, 2, 5));
}

/// A reader that has read the folder, whose files were written long ago.
fn settled(folder: &PathBuf) -> Reader {
    let mut reader = Reader::default();
    let texts = reader.read(std::slice::from_ref(folder), &Change::Anything).texts;
    reader.files.iter_mut().for_each(|known| known.settled = true);
    reader.keep(texts);
    reader
}

fn named(paths: &[PathBuf]) -> Change {
    Change::Files(paths.iter().cloned().collect())
}

#[test]
fn only_the_files_named_are_looked_at() {
    let folder = folder("named");
    let paths = [folder.clone()];
    let (one, other) = (folder.join("a.yaml"), folder.join("b.yaml"));
    write(&one, "one", 3600);
    write(&other, "two", 3600);
    let mut reader = settled(&folder);
    write(&one, "three", 0);
    write(&other, "four", 0);
    // The temporary file of an editor is nothing to look for, whether it is still there or not.
    write(&folder.join("b.yaml~"), "", 0);
    let change = named(&[other, folder.join("b.yaml~"), folder.join(".b.swp")]);
    let Sources { texts, hash, problems } = reader.read(&paths, &change);
    assert_eq!((shown(&texts), problems.len()), (vec!["one", "four"], 0));
    assert_eq!(hash, store::hash(&texts));
    reader.keep(texts);
    assert_eq!(shown(&reader.read(&paths, &Change::Anything).texts), ["three", "four"]);
}

#[test]
fn what_comes_goes_or_moves_is_seen_by_its_name() {
    let folder = folder("moves");
    let paths = [folder.clone()];
    let (one, inner) = (folder.join("a.yaml"), folder.join("in"));
    std::fs::create_dir(&inner).expect("a folder");
    write(&one, "one", 3600);
    write(&inner.join("b.yaml"), "two", 3600);
    let mut reader = settled(&folder);
    let mut now = |changed: &[PathBuf]| {
        let texts = reader.read(&paths, &named(changed)).texts;
        let shown = texts.iter().map(|text| text.text.to_string()).collect::<Vec<_>>();
        reader.keep(texts);
        shown
    };
    write(&folder.join("c.yaml"), "three", 0);
    assert_eq!(now(&[folder.join("c.yaml")]), ["one", "three", "two"]);
    std::fs::rename(&inner, folder.join("z")).expect("renamed");
    assert_eq!(now(&[inner.clone(), folder.join("z")]), ["one", "three", "two"]);
    std::fs::remove_dir_all(folder.join("z")).expect("removed");
    assert_eq!(now(&[folder.join("z")]), ["one", "three"]);
    std::fs::remove_file(&one).expect("removed");
    assert_eq!(now(std::slice::from_ref(&one)), ["three"]);
}

/// A ConfigMap: what a link leads to changes without a word about the link.
#[test]
fn behind_links_everything_is_looked_at() {
    let (folder, elsewhere) = (folder("links"), folder("linked"));
    let target = elsewhere.join("a.yaml");
    write(&target, "one", 3600);
    std::os::unix::fs::symlink(&target, folder.join("a.yaml")).expect("a link");
    write(&folder.join("b.yaml"), "two", 3600);
    let mut reader = settled(&folder);
    write(&target, "three", 0);
    let texts = reader.read(std::slice::from_ref(&folder), &named(&[folder.join("b.yaml")])).texts;
    assert_eq!(shown(&texts), ["three", "two"]);
}

#[test]
fn a_file_that_turns_unreadable_is_a_finding_and_mended_is_read() {
    let folder = folder("turns");
    let (file, paths) = (folder.join("a.yaml"), [folder.clone()]);
    write(&file, "one", 3600);
    let mut reader = settled(&folder);
    std::fs::write(&file, b"\xff").expect("written");
    let Sources { texts, problems, .. } = reader.read(&paths, &named(std::slice::from_ref(&file)));
    assert_eq!((texts.len(), problems.len()), (0, 1));
    reader.keep(texts);
    write(&file, "two", 0);
    let Sources { texts, problems, .. } = reader.read(&paths, &named(&[file]));
    assert_eq!((shown(&texts), problems.len()), (vec!["two"], 0));
}

/// It was read at the start: a reload must not take it for empty.
#[test]
fn stdin_stays_what_it_was() {
    let mut reader = Reader::default();
    let text = Text { name: "<stdin>".into(), text: "one".into() };
    reader.add(PathBuf::from("-"), Facts::default(), text, store::sum);
    for change in [Change::Anything, named(&[PathBuf::from("/nowhere")])] {
        let texts = reader.read(&[PathBuf::from("-")], &change).texts;
        assert_eq!(shown(&texts), ["one"]);
        reader.keep(texts);
    }
}
