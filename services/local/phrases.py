"""What people of the sample day say and are called, in Japanese and English. One rule: nobody here is real."""

from dataclasses import dataclass

from schemas.types import Language


@dataclass(frozen=True, slots=True)
class Phrases:
    """The texts of one language."""

    family_names: tuple[str, ...]
    given_names: tuple[str, ...]
    questions: tuple[str, ...]
    agent_lines: tuple[str, ...]
    visitor_lines: tuple[str, ...]
    bot_lines: tuple[str, ...]
    welcome: str
    comments: tuple[str, ...]
    locations: tuple[str, ...]
    handover: str
    invitation: str
    colleague: str
    whispers: tuple[str, ...]
    one_more: str
    replies: tuple[str, ...]
    notes: tuple[str, ...]
    tags: tuple[str, ...]
    lead: str

    def name(self, family: str, given: str) -> str:
        """Return a full name in the language's order."""
        return f"{given} {family}" if self.family_names[0].isascii() else f"{family} {given}"


JAPANESE = Phrases(
    family_names=("佐藤", "鈴木", "高橋", "田中", "伊藤", "渡辺", "山本", "中村", "小林", "加藤"),
    given_names=("陽子", "健太", "美咲", "翔", "結衣", "大輔", "さくら", "直樹", "葵", "蓮"),
    questions=(
        "予約の日程を変更したいのですが、可能でしょうか。",
        "注文した商品がまだ届きません。",
        "領収書を再発行していただけますか。",
        "ログインできなくなりました。パスワードの再設定方法を教えてください。",
        "キャンセル料はいつから発生しますか?",
        "京都の旅館について相談したいです。二名、三泊です。",
    ),
    agent_lines=(
        "お問い合わせありがとうございます。担当の者です。",
        "確認いたしますので、少々お待ちください。",
        "ご注文番号をお教えいただけますでしょうか。",
        "お手続きが完了いたしました。",
        "ほかにご不明な点はございますか。",
    ),
    visitor_lines=(
        "はい、お願いします。",
        "番号は A-20931 です。",
        "なるほど、わかりました。",
        "ありがとうございます。助かりました😊",
    ),
    bot_lines=(
        "こんにちは。自動応答です。ご用件をお選びください。",
        "よくあるご質問のページをご案内します。",
    ),
    welcome="お問い合わせありがとうございます。順番におつなぎします。",
    comments=("とても丁寧でした。", "少し待ちましたが解決しました。", "また利用したいです。"),
    locations=("東京都", "大阪市", "札幌市", "福岡市"),
    handover="こちらのお客様をお願いできますか。",
    invitation="少しだけ一緒に見ていただけますか。",
    colleague="横から失礼します。その件はこちらで確認済みです。",
    whispers=(
        "ささやき: 割引は一割までなら構いません。",
        "ささやき: 先に本人確認をお願いします。",
    ),
    one_more="すみません、もう一つだけ。領収書はメールで届きますか?",
    replies=(
        "先ほどはご対応できず申し訳ございません。ご予約の変更を承りました。",
        "お待たせいたしました。本日中に発送いたします。",
    ),
    notes=("窓側の席を希望。", "前回の返金は対応済み。"),
    tags=("予約", "返金", "要確認"),
    lead="見積もりを希望。",
)

ENGLISH = Phrases(
    family_names=("Baker", "Carter", "Diaz", "Evans", "Foster", "Gray", "Hughes", "Iqbal", "Jones", "Kelly"),
    given_names=("Alex", "Blair", "Casey", "Dana", "Eden", "Finley", "Harper", "Jordan", "Morgan", "Robin"),
    questions=(
        "Can I change the delivery address of my order?",
        "My invoice shows the wrong amount.",
        "How do I reset my password?",
        "Do you ship to Canada? And what does it cost?",
        'The app says "error 42" when I pay — what does that mean?',
        "I would like a quote for 25 seats.",
    ),
    agent_lines=(
        "Hello, thanks for waiting. How can I help?",
        "Let me look that up for you.",
        "Could you tell me your order number?",
        "That is done now; you will get a confirmation.",
        "Is there anything else I can do?",
    ),
    visitor_lines=(
        "Yes, please.",
        "It's A-20931.",
        "I see, thank you.",
        "Great, that was quick!",
    ),
    bot_lines=(
        "Hi! I am the assistant. What is it about?",
        "Here is the page that answers most questions about this.",
    ),
    welcome="Thank you for contacting us. Somebody will be with you shortly.",
    comments=("Very helpful.", "Took a while, but solved.", "Friendly & clear <3"),
    locations=("Boston, MA", "Leeds, UK", "Toronto", "Austin, TX"),
    handover="Could you take this one over, please?",
    invitation="Can you have a look at this with me?",
    colleague="May I add something: that was fixed this morning.",
    whispers=(
        "Whisper: you may go down to ten per cent.",
        "Whisper: ask for the account's postcode first.",
    ),
    one_more="Sorry, one more thing: will the receipt come by e-mail?",
    replies=(
        "Sorry that we missed you. The address of your order is changed.",
        "Thank you for your patience: your parcel leaves us today.",
    ),
    notes=("Prefers to be called in the morning.", "Had a refund last month."),
    tags=("orders", "refund", "follow-up"),
    lead="Wants a quote.",
)

PHRASES: dict[Language, Phrases] = {"ja": JAPANESE, "en": ENGLISH}
