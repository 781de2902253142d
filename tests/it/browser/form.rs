//! Forms and uploads that an approval or a sign-in interrupts.

use doorward_tests::App;

use super::House;

const CHALLENGE: &str = "/.doorward/step-up?challenge=";

#[tokio::test]
async fn k12_an_app_is_bound_asked_for_at_sign_in_and_approves_a_form() {
    let mut house = House::open().await;
    let list = "/.doorward/account/authenticators";
    house.sign_in(list).await;
    house.browser.click("a[href$='/authenticators/bind']").await;
    // Whoever has a phone proves it before anything else is bound.
    house.arrive_below(CHALLENGE).await;
    assert_eq!(house.browser.text("h1").await, "Confirm that it is you");
    house.browser.click("button[name=send]").await;
    house.is_told("[role=status]", "A code is on its way").await;
    house.gate.deliver().await;
    let code = crate::factors::recovery::texts(&house.gate, "code_approve").pop().unwrap();
    house.give_code(&code).await;
    house.arrive(&format!("{list}/bind")).await;
    let app = App::new(&house.browser.text(".key").await, &house.gate.clock);
    house.browser.type_into("#first", &app.code()).await;
    house.browser.type_into("#second", &app.code_after(1)).await;
    house.browser.click("form button[type=submit]").await;
    house.arrive(&format!("{list}?notice=bound")).await;
    app.wait();
    app.wait();

    house.protect_sign_in().await;
    house.go("/.doorward/sign-out").await;
    house.browser.click("form button").await;
    house.arrive("/.doorward/sign-in?notice=signed-out").await;
    house.go("/app").await;
    house.give_password().await;
    house.arrive_below("/.doorward/sign-in/verify").await;
    house.give_code(&app.code()).await;
    house.arrive("/app").await;
    app.wait();
    house.send_form().await;
    house.give_code(&app.code()).await;
    house.is_told("#got", "POST /transfer").await;
    assert_eq!(house.posts().len(), 1);
}

#[tokio::test]
async fn i09_i10_a_form_is_shown_before_it_is_approved_and_sent_once_whatever_is_pressed() {
    let (mut house, app) = House::at_the_console().await;
    house.browser.type_into("#by-form [name=to]", "-<b>&").await;
    house.send_form().await;
    assert_eq!(house.browser.text("h1").await, "Approve this operation");
    let shown = house.browser.text(".operation").await;
    let expected =
        "Operation\nTransfer money\nRequest\nPOST /transfer\nto\ncarol-<b>&\namount\n200";
    assert_eq!(shown, expected);
    house.give_code("000000").await;
    house.is_told("[role=alert]", "not right").await;
    assert_eq!(house.browser.evaluate("document.activeElement.id").await, "answer");
    assert_eq!(house.posts().len(), 0);

    house.give_code(&app.code()).await;
    house.is_told("#got", "POST /transfer").await;
    // The address is the one at which it went on; the console's page is what the browser shows.
    assert!(house.browser.url().await.starts_with(&House::url("/transfer?doorward-continue=")));
    let posts = house.posts();
    assert_eq!((posts.len(), posts[0].line()), (1, "POST /transfer"));
    assert_eq!(posts[0].body, b"to=carol-%3Cb%3E%26&amount=200");
    let typed = app.code();
    assert!(posts.iter().all(|post| !String::from_utf8_lossy(&post.body).contains(&typed)));

    house.browser.reload().await;
    house.is_told("[role=alert]", "gone on already").await;
    house.browser.back().await;
    house.browser.back().await;
    house.browser.back().await;
    house.arrive("/app").await;
    assert_eq!(house.posts().len(), 1, "it was sent again");
}

#[tokio::test]
async fn i10_an_upload_goes_on_and_a_larger_one_is_said_before_the_approval() {
    let (mut house, app) = House::at_the_console().await;
    let file = house.gate.scratch.path().join("key.bin");
    let small: Vec<u8> = (0..=255).cycle().take(20_000).collect();
    for (octets, kept) in [(vec![b'x'; 80_000], false), (small.clone(), true)] {
        std::fs::write(&file, octets).unwrap();
        house.browser.type_into("#upload [type=file]", file.to_str().unwrap()).await;
        house.browser.click("#upload button").await;
        house.arrive_below(CHALLENGE).await;
        let said = house.browser.text("main").await;
        assert_eq!(said.contains("too large to be kept"), !kept, "{said}");
        assert_eq!(said.contains("What you sent is kept"), kept, "{said}");
        house.give_code(&app.code()).await;
        if kept {
            house.is_told("#got", "POST /keys/upload").await;
        } else {
            // Back to the form; what was approved holds for a while, so it is not asked again.
            house.arrive("/app").await;
            house.gate.clock.advance(std::time::Duration::from_secs(300));
        }
    }
    let posts = house.posts();
    assert_eq!(posts.len(), 1);
    assert!(posts[0].body.windows(small.len()).any(|window| window == small), "octets are lost");
    assert!(posts[0].field("content-type").unwrap().starts_with("multipart/form-data"));
}

#[tokio::test]
async fn i10_a_session_that_ends_in_the_middle_of_a_form_loses_nothing() {
    let (mut house, app) = House::at_the_console().await;
    house.let_session_expire();
    house.browser.click("#by-form button").await;
    house.arrive_below("/.doorward/sign-in?return_to=").await;
    house.is_told("[role=status]", "What you sent is kept").await;
    house.give_password().await;
    house.arrive_below("/.doorward/continue?hold=").await;
    assert_eq!(house.browser.text("h1").await, "Send what you had begun?");
    assert_eq!(house.browser.text(".operation").await, "Request\nPOST /transfer");
    assert_eq!(house.posts().len(), 0);
    house.browser.click("form button[type=submit]").await;
    house.arrive_below(CHALLENGE).await;
    house.give_code(&app.code()).await;
    house.is_told("#got", "POST /transfer").await;
    let posts = house.posts();
    assert_eq!((posts.len(), &*posts[0].body), (1, &b"to=carol&amount=200"[..]));
}

#[tokio::test]
async fn what_has_gone_on_already_is_said_in_the_language_that_was_chosen() {
    let (mut house, app) = House::at_the_console().await;
    house.go("/.doorward/account?lang=zh-CN").await;
    house.go("/app").await;
    house.send_form().await;
    house.give_code(&app.code()).await;
    house.is_told("#got", "POST /transfer").await;
    house.browser.reload().await;
    house.is_told("[role=alert]", "您提交的内容").await;
    assert_eq!(house.posts().len(), 1);
}

#[tokio::test]
async fn what_a_person_does_not_want_any_more_is_not_sent() {
    let (mut house, _app) = House::at_the_console().await;
    house.send_form().await;
    let cancel = "main > p.aside:last-child a";
    house.browser.click(cancel).await;
    house.arrive("/app").await;
    house.let_session_expire();
    house.browser.click("#by-form button").await;
    house.arrive_below("/.doorward/sign-in?return_to=").await;
    house.give_password().await;
    house.arrive_below("/.doorward/continue?hold=").await;
    house.browser.click("form[action='/.doorward/continue'] button").await;
    house.arrive("/").await;
    assert_eq!(house.posts().len(), 0);
}
