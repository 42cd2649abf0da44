-- Run once, when the server's data folder is new. The archive's database, chat, is made by the image itself.
CREATE DATABASE notifier;
CREATE DATABASE crm_sync;
