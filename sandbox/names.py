"""Invented people: given names, surnames, usernames and phone numbers that belong to nobody.

Phone numbers are of the kind that Telegram reserves for tests: +99966XYYYY with X from 1 to 3,
https://core.telegram.org/api/auth#test-accounts.
"""

from __future__ import annotations

from sandbox.world import Account

# fmt: off
GIVEN = (
    "Robin", "Ada", "Ben", "Cleo", "Dario", "Elif", "Finn", "Greta", "Hugo", "Ines", "Jonas", "Kira", "Leo", "Mina", "Nils", "Olga",
    "Pablo", "Quinn", "Rosa", "Sami", "Tara", "Umar", "Vera", "Wim", "Xenia", "Yara", "Zeno", "Alma", "Bruno", "Carla", "Dana", "Emil",
    "Flora", "Gino", "Hanna", "Ivo", "Jana", "Karl", "Lena", "Milo", "Nora", "Otto", "Paula", "Remo", "Selma", "Timo", "Ulla", "Vito",
    "Wanda", "Yusuf",
)
SURNAMES = (
    "Marlow", "Ashby", "Berglund", "Castell", "Dorner", "Eklund", "Farrow", "Galanis", "Hollis", "Ibsen", "Jarvis", "Kessler",
    "Lindqvist", "Moreau", "Novak", "Orlov", "Pretorius", "Quist", "Rask", "Sorel", "Tamm", "Ueda", "Valk", "Winther", "Yates", "Zeller",
    "Abara", "Bisset", "Corvo", "Dunmore", "Eames", "Fosse", "Grieve", "Hartog", "Ilves", "Joubert", "Kallas",
)
# fmt: on


def invented_account(place: int, account_id: int, *, password: str | None = None) -> Account:
    """The `place`-th invented person; name, username and phone number are distinct for every place.

    37 surnames and 50 given names have no common factor, so the pair repeats after 1,850 places only; a number follows then.
    """
    first, last = GIVEN[place % len(GIVEN)], SURNAMES[place % len(SURNAMES)]
    again = place // (len(GIVEN) * len(SURNAMES))
    suffix = str(again + 1) if again else ""
    return Account(
        account_id,
        first,
        f"{last}{' ' + suffix if suffix else ''}",
        username=f"{first}_{last}{suffix}".lower(),
        phone=f"+99966{place % 3 + 1}{place:04d}",
        password=password,
    )
