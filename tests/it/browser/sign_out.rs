//! What the back button shows after a sign-out: nothing of what was there.

use super::House;

#[tokio::test]
async fn k09_the_back_button_shows_nothing_after_a_sign_out() {
    let (mut house, _app) = House::at_the_console().await;
    house.go("/.doorward/account").await;
    assert_eq!(house.browser.text("dd").await, "alice");
    house.go("/.doorward/account/authenticators").await;
    assert!(house.browser.text("main").await.contains("phone"));
    house.go("/.doorward/sign-out").await;
    house.browser.click("form button").await;
    house.arrive("/.doorward/sign-in?notice=signed-out").await;
    for _ in 0..4 {
        house.browser.back().await;
        let shown = house.browser.text("body").await;
        assert!(!shown.contains("alice") && !shown.contains("phone"), "{shown}");
        assert!(!shown.contains("console"), "the console's page is still there: {shown}");
    }
    assert!(house.browser.url().await.contains("/.doorward/sign-in"));
}
