"""Why something is not done, not shown or not sure: a sentence in Japanese and English for each code of a report, a card or a log.

The one rule: records, reports and logs hold codes; people read sentences. A code that nobody wrote one for is still told, as it is.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from schemas.types import Language
from services.crm_sync.connectors.records import Limits

_AWAY = (
    "The CRM does not answer now. It is asked again by itself.",
    "CRMが応答していません。自動的に再試行します。",
)
_PUT_RIGHT = (
    "The CRM's settings have to be put right by whoever looks after them. Until then this waits; nothing is lost.",
    "CRMの設定を管理者が直す必要があります。それまで保留され、失われることはありません。",
)
_NOT_SURE = (
    "The CRM broke off while it was asked, so nobody knows whether it was done. Look there before you ask again.",
    "CRMとの通信が途中で切れたため、実行されたか分かりません。再度依頼する前にCRMを確認してください。",
)
_AGAIN = (
    "The CRM was busy with this record. Ask again.",
    "CRMがこの記録を処理中でした。もう一度お試しください。",
)
_GONE = (
    "The record is not in the CRM any more, and nobody stands for it.",
    "CRMの記録が見つかりません。削除または統合された可能性があります。",
)
_TABLE: tuple[tuple[str, tuple[str, str]], ...] = (
    # ------------------------------------------------------------ what was asked for
    ("already_a_customer", ("Somebody with this address is in the CRM already.", "このメールアドレスはすでにCRMに登録されています。")),
    ("nobody_found", ("Nobody in the CRM has this address.", "このメールアドレスの人はCRMに登録されていません。")),
    ("visitor_email_unknown no_email", ("The visitor has given no e-mail address.", "お客様のメールアドレスが分かりません。")),
    ("newest_of_many", ("Several records have this address; the newest was taken.", "このメールアドレスの記録が複数あり、最も新しいものを選びました。")),
    ("not_permitted", ("You may not ask for this.", "この操作は許可されていません。")),
    ("not_supported", ("The CRM can't do this.", "このCRMではできない操作です。")),
    ("phone_invalid", ("This is no valid phone number.", "電話番号が正しくありません。")),
    ("region_unknown", ("Write the phone number with its country code, such as +81.", "電話番号を国番号（+81など）から入力してください。")),
    ("text_missing", ("Write a note first.", "メモを入力してください。")),
    ("text_too_long", ("The text is longer than the CRM takes.", "文章がCRMの上限より長すぎます。")),
    ("name_too_long", ("The name is longer than the CRM takes.", "名前がCRMの上限より長すぎます。")),
    ("field_refused", ("The CRM does not take one of the values.", "CRMが入力内容の一部を受け付けませんでした。")),
    ("owner_unknown", ("The record has no owner, so nobody was told.", "記録の所有者がいないため、誰にも通知されていません。")),
    ("owner_email_unknown", ("The owner has no e-mail address in the CRM and was not told.", "所有者のメールアドレスがCRMになく、通知できませんでした。")),
    ("unknown_chat", ("The chat ended too long ago.", "チャットの終了から時間が経ちすぎています。")),
    ("deal_without_contact lead_without_party", ("The deal has no contact whose number this could be.", "商談に連絡先がないため、電話番号を登録できません。")),
    ("lead_refused", ("The CRM did not take a lead for this visitor.", "CRMがこのお客様のリードを受け付けませんでした。")),
    ("lead_failed", ("A lead for this visitor could not be made.", "このお客様のリードを作成できませんでした。")),
    # ------------------------------------------------------------ the workspace's CRM
    ("crm_not_configured", ("No CRM is set up here.", "CRMが設定されていません。")),
    ("unknown_connector", ("The settings name a CRM that is not known.", "設定されたCRMの種類が不明です。")),
    ("no_account", ("No account at the CRM is set up here.", "CRMのアカウントが設定されていません。")),
    ("login_refused", ("The CRM does not accept the login. Tell whoever looks after it; nothing is lost meanwhile.", "CRMにログインできません。管理者に知らせてください。その間の内容は失われません。")),
    ("access_denied", ("The CRM does not let its account for chats do this.", "チャット用アカウントにはCRMでこの操作をする権限がありません。")),
    ("setup_needed", ("A field that is needed is missing in the CRM. Tell whoever looks after it; nothing is lost meanwhile.", "CRMに必要な項目がありません。管理者に知らせてください。その間の内容は失われません。")),
    ("marker_not_unique path_unknown database_unknown user_without_company redirected address_forbidden migrating", _PUT_RIGHT),
    ("too_many_pages", ("A list in the CRM is longer than it is read.", "CRMの一覧が長すぎて読み込めません。")),
    # ------------------------------------------------------------ what the CRM says
    ("record_gone bad_reference", _GONE),
    ("already_there", ("This is in the CRM already, or is just being made.", "すでにCRMにあるか、作成中です。")),
    ("party_not_taken locked changed_meanwhile", _AGAIN),
    ("rate_limited", ("The CRM takes no more requests for a while. It is asked again by itself.", "CRMの利用上限に達しました。自動的に再試行します。")),
    ("unreachable timeout database_unavailable token_awaited", _AWAY),
    ("server_error server_failed database_failed answer_lost answer_too_long answer_not_understood", _NOT_SURE),
    # ------------------------------------------------------------ Salesforce's own, passed on
    ("duplicates_detected", ("A rule of the CRM against duplicates keeps this out.", "CRMの重複ルールにより登録できませんでした。")),
    ("field_custom_validation_exception", ("A rule of the CRM does not let this in.", "CRMの入力規則により登録できませんでした。")),
)  # fmt: skip
SENTENCES: Mapping[str, Mapping[Language, str]] = MappingProxyType(
    {code: {"en": en, "ja": ja} for codes, (en, ja) in _TABLE for code in codes.split()}
)
FEED_LIMITS: Mapping[str, Mapping[Language, str]] = MappingProxyType(
    {
        "page_full": {
            "en": "one page holds no more; a filter shows older ones",
            "ja": "1ページの上限です。絞り込むと古いものも表示できます",
        },
        "notes_by_page": {
            "en": "the CRM hands out a record's notes a page at a time, the newest first",
            "ja": "CRMは記録のメモを新しい順に1ページずつしか渡しません",
        },
    }
)
"""Why a feed shows no more entries, as the middle of a sentence: what a connector says by `feed_limit_reason`."""


def feed_limit(limits: Limits, language: Language) -> str:
    """Return the warning of a connector whose feed shows only so many entries."""
    shown, why = limits.feed_items_max, feed_reason(limits, language)
    return {
        "en": f"Of a record's feed the latest {shown} entries can be seen at once: {why}.",
        "ja": f"フィードで一度に見られるのは最新の{shown}件です（{why}）。",
    }[language]


def feed_reason(limits: Limits, language: Language) -> str:
    """Return why a feed shows no more entries, as the middle of a sentence."""
    reason = limits.feed_limit_reason or ""
    return FEED_LIMITS[reason][language] if reason in FEED_LIMITS else reason


# ---------------------------------------------------------------- fields

_FIELD = re.compile(r"field_(?P<field>.+)")
_NAMES: tuple[tuple[str, tuple[str, str]], ...] = (
    ("e?mail", ("e-mail address", "メールアドレス")),
    ("phone|mobile", ("phone number", "電話番号")),
    ("owner", ("owner", "所有者")),
    ("company|organi[sz]ation", ("company", "会社")),
    ("description|content|note|body|comment", ("text", "文章")),
    ("subject|title", ("title", "件名")),
    ("name", ("name", "名前")),
)
"""What a field is about, by what its vendor calls it; the first that fits."""
_PROBLEMS: tuple[tuple[str, tuple[str, str]], ...] = (
    ("too_?long|too_?large|length", ("it is too long", "長すぎます")),
    ("missing|required|mandatory|empty|blank", ("it is missing", "入力が必要です")),
    ("duplicate|exists|unique", ("somebody else has it", "すでに使われています")),
    ("", ("it is not valid there", "CRMで有効な値ではありません")),
)


def sentence(code: str, language: Language) -> str:
    """Return what people read for a code."""
    known = SENTENCES.get(code)
    if known is not None:
        return known[language]
    of_field = _FIELD.fullmatch(code)
    if of_field is None:
        return {
            "en": f"The CRM refused it ({code}).",
            "ja": f"CRMが受け付けませんでした（{code}）。",
        }[language]
    at = 0 if language == "en" else 1
    said = of_field["field"]
    field = next((told[at] for pattern, told in _NAMES if re.search(pattern, said)), None)
    problem = next(told[at] for pattern, told in _PROBLEMS if re.search(pattern, said))
    return {
        "en": f"The CRM does not take the {field or 'field'}: {problem} ({code}).",
        "ja": f"CRMが{field or '項目'}を受け付けませんでした。{problem}（{code}）。",
    }[language]
