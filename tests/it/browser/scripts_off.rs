//! Without JavaScript: sign-in with an app, an approval, and a code by text message.

use serde_json::json;

use super::House;

#[tokio::test]
async fn k13_password_app_and_text_message_need_no_script() {
    let mut house = House::open().await;
    let app = house.gate.app_of("alice").await;
    house.protect_sign_in().await;
    app.wait();
    let off = json!({"value": true});
    house.browser.devtools("Emulation.setScriptExecutionDisabled", off).await;
    house.go("/app").await;
    house.give_password().await;
    house.arrive_below("/.doorward/sign-in/verify").await;
    house.give_code(&app.code()).await;
    house.arrive("/app").await;
    // Scripts are off: nothing took the place of what the form does.
    app.wait();
    house.send_form().await;
    house.give_code(&app.code()).await;
    house.is_told("#got", "POST /transfer").await;

    house.go("/app").await;
    house.send_form().await;
    house.browser.click(".ways a[href*=text-message]").await;
    house.is_told("label", "text message").await;
    house.browser.click("button[name=send]").await;
    house.is_told("[role=status]", "A code is on its way").await;
    house.gate.deliver().await;
    let code = crate::factors::recovery::texts(&house.gate, "code_approve").pop().unwrap();
    house.give_code(&code).await;
    house.is_told("#got", "POST /transfer").await;
    assert_eq!(house.posts().len(), 2);
}
