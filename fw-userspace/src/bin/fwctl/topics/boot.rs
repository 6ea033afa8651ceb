//! `fwctl help boot`: what the units of the Debian package do.

use super::Block;

pub(super) fn blocks() -> Vec<Block> {
    let text = |text: &str| Block::Text(text.to_owned());
    let heading = |title: &str| Block::Heading(title.to_owned());
    let item = |term: &str, text: &str| Block::Item { term: term.to_owned(), text: text.to_owned() };
    vec![
        text(
            "The Debian package has a service, fwctl.service, which loads /etc/fwctl/rules.json at boot, before the \
             network is up. The package comes without that file, and without it the service does nothing: copy \
             /etc/fwctl/rules.json.example, put your networks and devices in, and start.",
        ),
        Block::Example(
            "cp /etc/fwctl/rules.json.example /etc/fwctl/rules.json\n\
             fwctl check /etc/fwctl/rules.json\n\
             fwctl load /etc/fwctl/rules.json --confirm 60\n\
             fwctl confirm               # in another session, which shows that you still get in\n\
             systemctl start fwctl       # keeps them as the last good ones",
        ),
        heading("What the service does"),
        item(
            "start, and at boot",
            "loads the file. What is then in force is kept as /var/lib/fwctl/last-good.json. If the file cannot be \
             loaded, the last good one is loaded instead and the service has failed, which systemctl --failed and \
             systemctl status fwctl show, with the mistakes. The host is filtered then. If there is no last good one \
             it is not, and the journal says so. A start that fails while rules are in force leaves them in force.",
        ),
        item(
            "systemctl reload fwctl",
            "loads the file anew. A bad file changes nothing: the reload fails and the service stays active.",
        ),
        item(
            "systemctl stop fwctl",
            "unloads: from then on nothing is filtered, and connections are forgotten. systemctl restart is a stop \
             and a start, so reload instead. A service that has failed is not stopped: fwctl unload does the same.",
        ),
        item(
            "a device that comes later",
            "is attached by udev's rule 90-fwctl.rules if the rules in force name it, before the programs that set \
             up the network hear of it.",
        ),
        heading("fwctl-serve.service"),
        text(
            "The package has a second service, which it does not enable: fwctl serve on the same file. It answers \
             Prometheus on 127.0.0.1:9798, puts the file in force a moment after it is saved, without systemctl reload \
             and without --confirm, and attaches again what somebody takes off a device. systemctl enable --now \
             fwctl-serve begins with it; further options are FWCTL_SERVE_OPTIONS in /etc/default/fwctl-serve. \
             Stopping it, or its death, changes nothing of the filter.",
        ),
        heading("The way past it"),
        text(
            "A host that cannot be reached because of its rules is booted without them: add fwctl=off to the kernel's \
             command line. In GRUB's menu press e, go to the line that begins with linux, write fwctl=off at its end \
             and press Ctrl-X. The service is then skipped for this boot, and nothing is filtered. Mend the file, try \
             it with --confirm, and boot again.",
        ),
        text("systemctl disable fwctl ends loading at boot for good."),
        heading("Upgrade, removal and purge"),
        text(
            "An upgrade of the package leaves the filter attached and the rules in force. Removing the package \
             unloads, and leaves /etc/fwctl and /var/lib/fwctl; purging removes them too.",
        ),
    ]
}
