//! Two tabs of one browser, which share a session.

use super::House;

#[tokio::test]
async fn i10_two_tabs_are_asked_each_and_each_goes_on() {
    let (mut house, app) = House::at_the_console().await;
    house.send_form().await;
    let first = house.browser.open_tab().await;
    house.go("/app").await;
    house.browser.type_into("#by-form [name=to]", "-two").await;
    house.send_form().await;
    let second = house.browser.tabs().await.into_iter().find(|tab| *tab != first).unwrap();

    house.browser.look_into(&first).await;
    house.give_code(&app.code()).await;
    house.is_told("#got", "POST /transfer").await;
    assert_eq!(house.posts().len(), 1);
    // The other tab's page is as it was, although the session has another token now.
    house.browser.look_into(&second).await;
    app.wait();
    house.give_code(&app.code()).await;
    house.is_told("#got", "POST /transfer").await;
    let bodies: Vec<_> = house.posts().into_iter().map(|post| post.body).collect();
    assert_eq!(bodies, [b"to=carol&amount=200".to_vec(), b"to=carol-two&amount=200".to_vec()]);
    // And a tab that did nothing is still signed in.
    house.browser.look_into(&first).await;
    house.go("/.doorward/account").await;
    assert_eq!(house.browser.text("h1").await, "Your account");
    assert_eq!(house.gate.services().sessions.count(), 1);
}
