"""The notifier: mails what a department asked to be mailed, once."""
