//! Who sends the messages of the outbox: mail by SMTP, text messages and operators' by webhook; or
//! all of it into a folder.

mod folder;
mod smtp;
mod webhook;

use std::sync::Arc;

use doorward_config::MessageService;
use doorward_plugins::Services;
use doorward_plugins::notify::{Sender, Senders};

use crate::gate::StartError;
use folder::Folder;
use smtp::SmtpSender;
use webhook::Webhook;

/// Lets the outbox send by whatever ways the configuration has.
///
/// # Errors
/// [`StartError`] when one of them could never work.
pub(crate) fn connect(services: &Services) -> Result<(), StartError> {
    let rules = &services.config.notify;
    if let Some(folder) = &rules.outbox_dir {
        let place = folder.display().to_string();
        let folder = Folder::open(folder).map_err(|error| StartError::Io(place, error))?;
        let folder: Arc<dyn Sender> = Arc::new(folder);
        services.notify.connect(Senders {
            email: Some(Arc::clone(&folder)),
            text_message: Some(Arc::clone(&folder)),
            webhook: Some(folder),
        });
        return Ok(());
    }
    let service = |rules: &Option<MessageService>| {
        rules.as_ref().map(|rules| Arc::new(Webhook::new(rules)) as Arc<dyn Sender>)
    };
    let email = rules.smtp.as_ref().map(|rules| {
        let sender = SmtpSender::new(rules, &services.config.public_url.host);
        sender.map(|sender| Arc::new(sender) as Arc<dyn Sender>)
    });
    services.notify.connect(Senders {
        email: email.transpose().map_err(StartError::Config)?,
        text_message: service(&rules.text_message),
        webhook: service(&rules.webhook),
    });
    Ok(())
}
