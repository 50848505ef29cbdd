"""The core of the twin: vocabulary, rules, persistence, settings. Imports no framework, no torch, no Telegram library."""
