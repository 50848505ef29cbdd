"""Mask what must not be learned: e-mail addresses, phone numbers, cards, bank accounts, keys and passwords.

Both sides of a chat are masked, because what stands only in the contact's turns leaks after training as well
(arXiv 2601.17480). A mask is a word in brackets, so the sentence around it stays a sentence. The patterns know shapes, not
languages; the password words are a list per language that can grow.
"""

from __future__ import annotations

import re
from functools import lru_cache

PASSWORD_WORDS = (
    "password|passwort|passwd|kennwort|passcode|passphrase|pin code|pincode|contraseña|mot de passe|senha|parola|hasło|wachtwoord|пароль"
    "|кодовое слово|密码|パスワード|비밀번호|كلمة السر|كلمة المرور|סיסמה|şifre|lösenord|adgangskode"
    "|salasana|jelszó|heslo|κωδικός|पासवर्ड|รหัสผ่าน|mật khẩu"
)


def _fold(text: str) -> str:
    """What `re.IGNORECASE` takes for the same letter folds to the same, with the Turkish i, whose dot casefold() leaves apart."""
    folded = text.casefold()
    return folded if text.isascii() else folded.replace("\u0307", "").replace("ı", "i")


_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
# "password: x", "my password is x", "пароль - x". A bare "password x" would eat ordinary sentences.
_PASSWORD = re.compile(rf"((?:{PASSWORD_WORDS})(?:\s+(?:is|ist|est|es|è|это|är)\b|\s*[:=：—-]|は|是)\s*)(\S+)", re.IGNORECASE)
# How the password words begin, folded: a text without any of these needs no search for them, which is thirty times as long.
_STEMS = tuple(dict.fromkeys(_fold(word)[:4] for word in PASSWORD_WORDS.split("|")))
_ASCII_STEMS = tuple(stem for stem in _STEMS if stem.isascii())
_KEY = re.compile(
    r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|\Z)"  # PEM
    r"|\b\d{6,12}:[A-Za-z0-9_-]{30,}"  # a Telegram bot token
    r"|\b(?:[spr]k[-_]|gh[opsu]_|github_pat_|glpat-|xox[abps]-|hf_|ya29\.)[-_A-Za-z0-9.]{16,}"  # well-known prefixes
    r"|\b(?:AKIA|ASIA|AIza|eyJ)[-_A-Za-z0-9.]{16,}",
    re.DOTALL,
)
_RUN = re.compile(r"\S{16}")  # every key but a PEM has one
_LONG = re.compile(r"(?<![A-Za-z0-9_+/-])[A-Za-z0-9_+/-]{32,}={0,2}")  # hex, base64, UUID, or the path of an address
# Bounded: where letters meet digits there is a beginning nearby, and a word of 4,000 letters must not be read 4,000 times.
_MIXED = re.compile(r"(?=[A-Za-z]{0,32}\d)(?=\d{0,32}[A-Za-z])[A-Za-z0-9]{8,}")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_DIGITS = re.compile(r"(?<![\w.,:/-])\+?\(?\d(?:[ \u00a0().–-]{0,2}\d){6,18}(?![\w:/])")
_DIGIT = re.compile(r"\d")
_WHEN = r"(?:\d{4}[-.]\d{1,2}[-.]\d{1,2}|\d{1,2}[-.]\d{1,2}[-.]\d{2,4}|\d{1,2}\.\d{1,2}\.?|(?:19|20)\d\d)"  # 2024-12-24, 24.12., 1999
_DATE = re.compile(rf"{_WHEN}(?: ?[-–] ?{_WHEN})?")
# In a name no letter beside the digits makes them a word, and seven of them are a number that somebody can be called at.
_IN_NAME = re.compile(r"\+?(?<!\d)\d(?:[ \u00a0().–/-]{0,2}\d){6,}(?!\d)")
MASK = re.compile(r"\[(?:email|password|key|account|card|phone)\]", re.IGNORECASE)


@lru_cache(maxsize=8192)
def mask(text: str) -> str:
    """The text with every such thing replaced by [email], [password], [key], [account], [card] or [phone].

    The last ones are kept: a prompt has the words of the one before it and a few new ones."""
    if "@" in text:
        text = _EMAIL.sub("[email]", text)
    if _may_name_a_password(text):
        text = _PASSWORD.sub(lambda m: f"{m.group(1)}[password]", text)
    if len(text) >= 20 and (_RUN.search(text) or "-----BEGIN" in text):
        text = _KEY.sub("[key]", text)
        # An address of readable words and numbers is no key: one of its parts has to mix letters with digits.
        text = _LONG.sub(lambda m: "[key]" if _MIXED.search(m.group()) else m.group(), text)
    if _DIGIT.search(text):
        text = _IBAN.sub(lambda m: "[account]" if _is_iban(m.group()) else m.group(), text)
        text = _DIGITS.sub(_card_or_phone, text)
    return text


def mask_name(name: str) -> str:
    """A contact's name, masked like a text, and any long number in it as well: address books hold "Plumber0170 1234567"."""
    return _IN_NAME.sub(lambda m: m.group() if _DATE.fullmatch(m.group()) else "[phone]", mask(name))


def maskable(text: str) -> list[str]:
    """The e-mail addresses, keys, accounts, cards and phone numbers of a text, as they stand there."""
    found = _EMAIL.findall(text) if "@" in text else []
    if len(text) >= 20:
        found += _KEY.findall(text)
        found += [key for key in _LONG.findall(text) if _MIXED.search(key)]
    if _DIGIT.search(text):
        found += [number for number in _IBAN.findall(text) if _is_iban(number)]
        found += [match.group() for match in _DIGITS.finditer(text) if _card_or_phone(match) != match.group()]
    return found


def _may_name_a_password(text: str) -> bool:
    """False only if _PASSWORD finds nothing."""
    folded = _fold(text)
    for stem in _ASCII_STEMS if text.isascii() else _STEMS:  # noqa: SIM110 - a generator costs more than the search
        if stem in folded:
            return True
    return False


def _card_or_phone(match: re.Match[str]) -> str:
    found = match.group()
    digits = re.sub(r"\D", "", found)
    if _DATE.fullmatch(found.strip()):
        return found
    if 13 <= len(digits) <= 19 and _is_luhn(digits):
        return "[card]"
    grouped = found.startswith("+") or len(digits) != len(found)
    if 7 <= len(digits) <= 15 and (grouped or len(digits) >= 9):
        return "[phone]"
    return "[phone]" if len(digits) >= 9 else found


def _is_luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, the check digit of payment cards."""
    total = sum(int(d) if i % 2 == 0 else sum(divmod(2 * int(d), 10)) for i, d in enumerate(reversed(digits)))
    return total % 10 == 0


def _is_iban(text: str) -> bool:
    """ISO 13616: the number, turned round, is 1 modulo 97."""
    compact = text.replace(" ", "")
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1
