//! Templates as a whole: what is escaped where, what is refused, and that the built-in ones can always be said.

use proptest::prelude::*;
use serde_json::{Map, json};

use super::builtin::Subject;
use super::compiled::CompiledTemplate;
use super::context::{ActorContext, AppContext, Context};
use super::parts::{Part, Parts};
use super::{NotificationKind, TemplateError, builtin, trial};
use crate::domain::locales::Locale;

fn app(name: &str) -> AppContext {
    AppContext { name: name.to_owned(), url: "https://chat.example".to_owned() }
}

fn parts(title: &str, body: &str) -> Parts {
    Parts {
        title: title.to_owned(),
        body: body.to_owned(),
        sms: None,
        mail_subject: None,
        mail_text: None,
        mail_html: None,
    }
}

fn compile(parts: &Parts) -> Result<CompiledTemplate, TemplateError> {
    CompiledTemplate::compile(parts, Locale::default())
}

fn named(name: &str) -> Context {
    let mut context = Context::new(app("Yard"));
    let id = uuid::Uuid::nil().into();
    context.actor = Some(ActorContext { id, display_name: name.to_owned() });
    context
}

/// Renders a body for one example actor.
fn body(source: &str) -> Result<String, TemplateError> {
    compile(&parts("Title", source))?.notice(&named("Minho")).map(|notice| notice.body)
}

#[test]
fn every_built_in_template_is_right_with_all_and_with_little() {
    for (kind, _) in builtin::KINDS {
        for locale in builtin::LOCALES {
            let template = CompiledTemplate::compile(
                &builtin::find(kind, locale).unwrap(),
                Locale::parse(locale).unwrap(),
            )
            .unwrap();
            let kind = NotificationKind::parse(kind).unwrap();
            let rendered = trial::check(&template, &kind, &app("Yard"), &Map::new());
            assert!(rendered.is_ok(), "{kind} in {locale}: {:?}", rendered.err());
        }
    }
}

#[test]
fn a_template_names_only_what_its_kind_has() {
    let check = |kind: &str, named: &str| {
        let words = parts("Title", &format!("{{{{ {named} }}}}"));
        let kind = NotificationKind::parse(kind).unwrap();
        trial::check(&compile(&words).unwrap(), &kind, &app("Yard"), &Map::new()).map(|_| ())
    };
    for (kind, subject) in builtin::KINDS {
        for (named, subjects) in [
            ("actor.display_name", &[Subject::Person, Subject::Message][..]),
            ("room.id", &[Subject::Message]),
            ("code", &[Subject::Address]),
            ("money.text", &[Subject::Money]),
            ("items|first|length", &[Subject::Many]),
            ("recipient.handle", &[subject]),
        ] {
            let has_it = subjects.contains(&subject);
            assert_eq!(check(kind, named).is_ok(), has_it, "{named} of {kind}");
        }
    }
    assert!(check("welcome", "actor.display_name").is_err());
    assert!(check("shop.sent", "code").is_err());
}

#[test]
fn the_korean_templates_have_no_english_left_in_them() {
    for (kind, _) in builtin::KINDS {
        let locale = Locale::parse("ko").unwrap();
        let template =
            CompiledTemplate::compile(&builtin::find(kind, "ko").unwrap(), locale.clone()).unwrap();
        let kind = NotificationKind::parse(kind).unwrap();
        let mut context = trial::example(&kind, &locale, &app("마당"), &Map::new());
        context.unsubscribe_url = Some("7".to_owned());
        let said = template.render(&context).unwrap();

        let html = without_tags(&said.mail.html);
        for text in [
            &said.notice.title,
            &said.notice.body,
            &said.sms,
            &said.mail.subject,
            &said.mail.text,
            &html,
        ] {
            assert!(!text.contains(|c: char| c.is_ascii_alphabetic()), "{kind}: {text}");
        }
    }
}

#[test]
fn a_code_stands_on_a_line_of_its_own() {
    let code = "A".repeat(43);
    for kind in ["verify_email", "reset_password"] {
        for locale in builtin::LOCALES {
            let words = builtin::find(kind, locale).unwrap();
            let template = compile(&words).unwrap();
            let mut context = Context::new(app("Yard"));
            context.code = Some(code.clone());
            let mail = template.mail(&context).unwrap();

            let of_its_length = mail.text.lines().filter(|line| line.len() == 43);
            assert_eq!(of_its_length.collect::<Vec<_>>(), [code.as_str()], "{kind} in {locale}");
            assert!(mail.html.contains(&format!(">{code}<")));
        }
    }
}

#[test]
fn a_digest_counts_in_words() {
    let template = compile(&builtin::find("digest", "en").unwrap()).unwrap();
    let subject = |count, rooms| {
        let mut context = named("Minho");
        context.recipient = trial::example(
            &NotificationKind::parse("digest").unwrap(),
            &Locale::default(),
            &app("Yard"),
            &Map::new(),
        )
        .recipient;
        (context.count, context.rooms) = (count, rooms);
        template.mail(&context).unwrap().subject
    };

    assert_eq!(subject(12, 3), "12 new messages in 3 rooms");
    assert_eq!(subject(1, 1), "1 new message in 1 room");
    assert_eq!(subject(2, 0), "2 new notifications");
}

#[test]
fn markup_in_a_name_stays_a_name() {
    let name = "<script>alert(1)</script> & \"Co\"";
    let words = Parts {
        mail_html: Some(
            "<p>{{ actor.display_name }} {{ [actor.display_name]|join(\", \") }}</p>".to_owned(),
        ),
        ..parts("{{ actor.display_name }}", "{{ actor.display_name }}")
    };
    let said = compile(&words).unwrap().render(&named(name)).unwrap();

    assert_eq!((said.notice.title.as_str(), said.notice.body.as_str()), (name, name));
    assert_eq!(said.sms, format!("{name}\n{name}"));
    assert!(!said.mail.html.contains("<script"), "{}", said.mail.html);
    assert!(said.mail.html.contains("&lt;script&gt;"), "{}", said.mail.html);
    // Nor where HTML is made of the text.
    let plain = compile(&parts("{{ actor.display_name }}", "{{ actor.display_name }}")).unwrap();
    assert!(!plain.mail(&named(name)).unwrap().html.contains("<script"));
}

#[test]
fn what_is_missing_is_an_error_and_may_be_asked_for() {
    for source in
        ["{{ nobody }}", "{{ room.name }}", "{{ data.number }}", "{{ code }}", "{{ actor }}"]
    {
        assert!(
            matches!(body(source), Err(TemplateError::Unrendered { part: Part::Body, .. })),
            "{source}"
        );
    }
    assert_eq!(body("{% if room %}a{% else %}b{% endif %}").unwrap(), "b");
    assert_eq!(body("{% if data.number is defined %}a{% endif %}b").unwrap(), "b");
    assert_eq!(body("{{ data.number|default(7) }}{{ \"x\" if code }}").unwrap(), "7");
    assert_eq!(body("{% if code %}x{% endif %}"), Err(TemplateError::Empty { part: Part::Body }));
}

#[test]
fn what_is_broken_is_shown_by_line() {
    for source in ["a\n{{ actor.display_name", "a\n{% if actor %}b", "a\n{{ 1 + }}"] {
        let error = body(source).unwrap_err();
        let TemplateError::Broken { part: Part::Body, line, .. } = error else {
            panic!("{source}: {error}");
        };
        assert!(line >= 2, "{source}: line {line}");
    }
    let TemplateError::Unrendered { line, message, .. } = body("a\nb\n{{ code }}").unwrap_err()
    else {
        panic!("it could be read");
    };
    assert_eq!(line, 3);
    assert!(!message.is_empty());
}

#[test]
fn nothing_leads_out_of_a_template_or_around_escaping() {
    for tag in [
        "{% include \"a\" %}",
        "{% extends \"a\" %}",
        "{% import \"a\" as b %}",
        "{% set a = 1 %}",
        "{%- set a %}b{% endset %}",
        "{% autoescape false %}{% endautoescape %}",
        "{% macro a() %}{% endmacro %}",
        "{% filter upper %}a{% endfilter %}",
        "{%+ raw %}{% endraw %}",
        "{%\n do a() %}",
    ] {
        assert!(matches!(body(tag), Err(TemplateError::Broken { line: 1, .. })), "{tag}");
    }
    for filter in
        ["{{ 1|safe }}", "{{ 1|format }}", "{{ 1|pprint }}", "{{ range(9) }}", "{{ \"a\".b() }}"]
    {
        assert!(body(filter).is_err(), "{filter}");
    }
}

#[test]
fn what_never_ends_or_never_stops_writing_is_ended() {
    let mut context = named("Minho");
    context.names = vec!["a".repeat(1_000); 1_000];
    let render = |source: &str| {
        compile(&parts("Title", source)).unwrap().notice(&context).map(|_| ()).unwrap_err()
    };

    let busy = "{% for a in names %}{% for b in names %}{% for c in names %}{% endfor %}{% endfor %}{% endfor %}";
    assert!(matches!(render(busy), TemplateError::Unrendered { .. }));
    assert_eq!(
        render("{% for name in names %}{{ name }}{% endfor %}"),
        TemplateError::OutputTooLong { part: Part::Body }
    );
    let long = parts("Title", &"a".repeat(Part::Body.source_bytes_max() + 1));
    assert_eq!(compile(&long).err(), Some(TemplateError::SourceTooLong { part: Part::Body }));
}

#[test]
fn nothing_makes_a_long_text_of_a_short_one() {
    for source in
        ["{{ \"a\" * 100000000 }}", "{{ app.name ~ app.name }}", "{{ app.name + app.name }}"]
    {
        assert!(matches!(body(source), Err(TemplateError::Broken { .. })), "{source}");
    }
    let mut context = named("Minho");
    context.names = vec!["a".to_owned(); 1_000];
    context.data = Map::from_iter([("long".to_owned(), json!("b".repeat(1_000)))]);
    let render = |source: &str| compile(&parts("Title", source)).unwrap().notice(&context);
    let joined = "{{ names|join(data.long)|join(data.long)|join(data.long)|length }}";
    assert!(matches!(render(joined), Err(TemplateError::Unrendered { .. })));
    assert_eq!(render("{{ names|join(\"-\")|length }}").unwrap().body, "1999");
    assert!(render("{{ [names]|join }}").is_err(), "a list in a list is no text");
}

#[test]
fn a_mail_has_a_way_out_where_there_is_one() {
    let template = compile(&parts("Title", "One.\n\nTwo < 3.")).unwrap();
    let mut context = named("Minho");
    let mandatory = template.mail(&context).unwrap();
    assert_eq!(mandatory.text, "One.\n\nTwo < 3.\n");
    assert!(mandatory.html.contains("<p>One.</p>\n<p>Two &lt; 3.</p>"), "{}", mandatory.html);
    assert!(!mandatory.html.contains("href"), "{}", mandatory.html);

    context.unsubscribe_url = Some("https://chat.example/u?token=abc".to_owned());
    let mail = template.mail(&context).unwrap();
    assert!(mail.text.ends_with("To stop mails like this: https://chat.example/u?token=abc\n"));
    assert!(mail.html.contains("token=abc\""), "{}", mail.html);
    assert!(mail.html.contains("Yard") && mail.html.contains("<html lang=\"en\">"));

    let page = "<!DOCTYPE html><p>{{ app.name }}</p>";
    let own = Parts { mail_html: Some(page.to_owned()), ..parts("Title", "Body") };
    assert_eq!(compile(&own).unwrap().mail(&context).unwrap().html, "<!DOCTYPE html><p>Yard</p>");
}

#[test]
fn a_part_that_names_its_reader_is_personal() {
    let is_personal = |title: &str, body: &str| compile(&parts(title, body)).unwrap().is_personal();

    assert!(!is_personal("{{ actor.display_name }}", "{{ count }} {{ data.a }}"));
    assert!(is_personal("{{ recipient.display_name }}", "b"));
    assert!(is_personal("a", "{% if code %}a{% endif %}b"));
    let words = builtin::find("message_received", "ko").unwrap();
    let template = compile(&words).unwrap();
    assert!(!template.is_personal());
    assert!(template.is_part_personal(Part::MailText));
}

/// The words of a page, without what stands in angle brackets and without styles.
fn without_tags(html: &str) -> String {
    let (head, rest) = html.split_once("<style>").unwrap();
    let (_, body) = rest.split_once("</style>").unwrap();
    let mut text = String::new();
    for piece in format!("{head}{body}").split('<') {
        text.push_str(piece.split_once('>').map_or("", |(_, words)| words));
        text.push(' ');
    }
    text
}

proptest! {
    #[test]
    fn no_name_adds_a_tag_to_html_or_loses_a_letter_in_text(name in "\\PC{1,60}") {
        let words = Parts {
            mail_html: Some("{{ actor.display_name }}".to_owned()),
            ..parts("t", "[{{ actor.display_name }}]")
        };
        let template = compile(&words).unwrap();
        let (harmless, said) = (template.mail(&named("x")).unwrap(), template.mail(&named(&name)));
        // A name of spaces alone comes to nothing.
        if let Ok(said) = said {
            let tags = |html: &str| html.matches('<').count();
            prop_assert_eq!(tags(&said.html), tags(&harmless.html));
        }
        let kept: String = name.chars().filter(|c| !matches!(c, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')).collect();
        let body = template.notice(&named(&name)).unwrap().body;
        prop_assert_eq!(body, format!("[{kept}]"));
    }

    #[test]
    fn a_title_is_one_line_without_control_characters(name in "[\\x00-\\x20a-z\u{85}\u{2028}\u{2029}\u{202e}]{1,40}") {
        let template = compile(&parts("[{{ actor.display_name }}]", "b")).unwrap();
        let title = template.notice(&named(&name)).unwrap().title;
        prop_assert!(title.chars().all(|c| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{202e}')), "{:?}", title);
    }

    #[test]
    fn no_text_makes_the_engine_panic(source in "(\\{\\{|\\}\\}|\\{%|%\\}|if|for|in|names|actor|[ .|()\"+~*a-z0-9\n-]){0,40}") {
        let _ = body(&source);
    }
}

#[test]
fn example_data_is_bounded() {
    let small = Map::from_iter([("number".to_owned(), json!(7))]);
    assert!(trial::check_sample(&small).is_ok());
    let large = Map::from_iter([("text".to_owned(), json!("a".repeat(20_000)))]);
    assert_eq!(trial::check_sample(&large), Err(TemplateError::SampleTooLarge));
}
