//! Sign-in, second step and approval by the keyboard alone.

use doorward_tests::PASSWORD;
use doorward_tests::webdriver::{ENTER, TAB};

use super::House;

#[tokio::test]
async fn k12_sign_in_second_step_and_approval_need_no_mouse() {
    let mut house = House::open().await;
    let app = house.gate.app_of("alice").await;
    house.protect_sign_in().await;
    app.wait();
    house.go("/app").await;
    house.browser.press(&format!("alice{TAB}{PASSWORD}{ENTER}")).await;
    house.arrive_below("/.doorward/sign-in/verify").await;
    house.browser.press(&format!("000000{ENTER}")).await;
    house.is_told("[role=alert]", "not right").await;
    let told = "['id', 'aria-describedby', 'aria-invalid'].map((name) => document.activeElement.getAttribute(name)).join(' ')";
    assert_eq!(house.browser.evaluate(told).await, "answer error true");
    house.browser.press(&format!("{}{ENTER}", app.code())).await;
    house.arrive("/app").await;

    // To the console's own form, and off.
    house.browser.evaluate("document.querySelector('#by-form button').focus()").await;
    house.browser.press(ENTER).await;
    house.arrive_below("/.doorward/step-up?challenge=").await;
    let outline = "getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(house.browser.evaluate(outline).await, "solid", "one sees where the focus is");
    // Everything on the page can be reached, in the order in which it stands there.
    let mut reached = Vec::new();
    for _ in 0..6 {
        house.browser.press(TAB).await;
        let name = "(document.activeElement.textContent || document.activeElement.id).trim()";
        reached.push(house.browser.evaluate(name).await.as_str().unwrap().to_owned());
        assert_eq!(house.browser.evaluate(outline).await, "solid");
        if reached.last().is_some_and(|name| name == "中文") {
            break;
        }
    }
    assert_eq!(reached, ["Approve", "Use a code by text message", "Cancel", "中文"]);
    house.browser.evaluate("document.getElementById('answer').focus()").await;
    app.wait();
    house.browser.press(&format!("{}{ENTER}", app.code())).await;
    house.is_told("#got", "POST /transfer").await;
    assert_eq!(house.posts().len(), 1);
}
