//! The page's words in Arabic, French and English. `{since}` stands for a time.

/// A language of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Arabic, right to left. The default.
    Arabic,
    /// French.
    French,
    /// English.
    English,
}

/// What is said of an order in one state: a title and a sentence or two.
#[derive(Debug)]
pub struct Message {
    /// The heading.
    pub title: &'static str,
    /// What it means for the customer.
    pub text: &'static str,
}

/// All words of one language.
#[derive(Debug)]
pub struct Words {
    /// The tag: `ar`, `fr` or `en`.
    pub tag: &'static str,
    /// The language's own name.
    pub name: &'static str,
    /// `rtl` or `ltr`.
    pub direction: &'static str,
    /// Titles and texts, by state.
    pub(crate) received: Message,
    pub(crate) processing: Message,
    pub(crate) queued: Message,
    pub(crate) queued_long: &'static str,
    pub(crate) uncertain: Message,
    /// How an uncertain order ends (the vendor's page of `UNKNOWN_ERROR`), and what is said instead after the vendor's 24 hours.
    pub(crate) uncertain_outcomes: &'static str,
    pub(crate) uncertain_long: &'static str,
    pub(crate) delayed: Message,
    pub(crate) not_found: Message,
    pub(crate) fulfilled: Message,
    /// The same for an internet card: with the card on this page, at the shop, and while it is missing.
    pub(crate) fulfilled_card_here: Message,
    pub(crate) fulfilled_card: Message,
    pub(crate) fulfilled_no_card: Message,
    pub(crate) refunded: Message,
    /// The text of a refunded order that the vendor continues under another id.
    pub(crate) continued: &'static str,
    /// The text of an order whose personal data was removed.
    pub(crate) redacted: &'static str,
    pub(crate) step_received: &'static str,
    pub(crate) step_processing: &'static str,
    pub(crate) step_queued: &'static str,
    pub(crate) step_checking: &'static str,
    pub(crate) step_processed: &'static str,
    pub(crate) step_delivered: &'static str,
    pub(crate) step_not_delivered: &'static str,
    pub(crate) mobile: &'static str,
    pub(crate) internet: &'static str,
    pub(crate) product: &'static str,
    pub(crate) number: &'static str,
    pub(crate) plan: &'static str,
    pub(crate) amount: &'static str,
    pub(crate) ordered: &'static str,
    pub(crate) checked: &'static str,
    /// What templates print as it is.
    pub(crate) tracking: &'static str,
    pub(crate) languages: &'static str,
    pub(crate) progress: &'static str,
    pub(crate) done: &'static str,
    pub(crate) message: &'static str,
    pub(crate) details: &'static str,
    pub(crate) currency: &'static str,
    pub(crate) offers: &'static str,
    pub(crate) offers_text: &'static str,
    pub(crate) card_code: &'static str,
    pub(crate) card_ready: &'static str,
    pub(crate) card_show: &'static str,
    pub(crate) card_hide: &'static str,
    pub(crate) card_keep: &'static str,
    pub(crate) help: &'static str,
    pub(crate) updates: &'static str,
    pub(crate) ended: &'static str,
    pub(crate) opens_nothing: Message,
    pub(crate) unavailable: Message,
}

impl Language {
    /// All languages, the default first.
    pub const ALL: [Self; 3] = [Self::Arabic, Self::French, Self::English];

    /// The words.
    pub fn words(self) -> &'static Words {
        match self {
            Self::Arabic => &ARABIC,
            Self::French => &FRENCH,
            Self::English => &ENGLISH,
        }
    }

    /// The language with this tag; regions are ignored (`fr-DZ`).
    pub(crate) fn of_tag(tag: &str) -> Option<Self> {
        let main = tag.split('-').next().unwrap_or_default().trim();
        Self::ALL.into_iter().find(|language| language.words().tag.eq_ignore_ascii_case(main))
    }

    /// The language of a request: `?lang=` if it names one, else the best of `Accept-Language`, else Arabic. Of equal weights the first counts.
    pub fn choose(query: &str, accept: &str) -> Self {
        let asked = query.split('&').filter_map(|pair| pair.strip_prefix("lang=")).find_map(Self::of_tag);
        asked.unwrap_or_else(|| best(accept).unwrap_or(Self::Arabic))
    }
}

/// The best language of an `Accept-Language` (RFC 9110, section 12.5.4); a weight that cannot be read is 0.
fn best(accept: &str) -> Option<Language> {
    let mut best: Option<(Language, f32)> = None;
    for entry in accept.split(',').take(20) {
        let (tag, weight) = entry.split_once(';').unwrap_or((entry, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|text| text.parse().ok()).unwrap_or(0.0);
        let Some(language) = Language::of_tag(tag).filter(|_| weight > 0.0) else { continue };
        if best.is_none_or(|(_, most)| weight > most) {
            best = Some((language, weight));
        }
    }
    best.map(|(language, _)| language)
}

static ARABIC: Words = Words {
    tag: "ar",
    name: "العربية",
    direction: "rtl",
    received: Message {
        title: "استلمنا طلبك", text: "أُرسل طلبك ونحن ننتظر الرد. لا يلزمك القيام بأي شيء."
    },
    processing: Message {
        title: "طلبك قيد المعالجة",
        text: "المتعامل يعالج طلبك الآن. لا يلزمك القيام بأي شيء.",
    },
    queued: Message {
        title: "طلبك في قائمة الانتظار",
        text: "المدة المعلنة: من 12 إلى 48 ساعة، ابتداءً من {since}. لا داعي لطلبه مرة ثانية.",
    },
    queued_long: "مرّت 48 ساعة. نواصل متابعة طلبك إلى أن نعرف نتيجته.",
    uncertain: Message {
        title: "ننتظر تأكيد نتيجة طلبك",
        text: "لم تتأكّد النتيجة بعد، وقد يستغرق ذلك حتى 24 ساعة. نواصل متابعة طلبك. من فضلك لا تطلب مرة ثانية.",
    },
    uncertain_outcomes: "لم يضِع شيء: إمّا أن تتمّ التعبئة، وإمّا أن يُعاد المبلغ إلى المتجر.",
    uncertain_long: "مرّت 24 ساعة ولم تتأكّد النتيجة. نواصل متابعة طلبك. يمكنك التواصل مع المتجر.",
    delayed: Message {
        title: "طلبك يستغرق وقتًا أطول من المعتاد",
        text: "لم تصلنا النتيجة بعد. نواصل متابعة طلبك. من فضلك لا تطلب مرة ثانية.",
    },
    not_found: Message {
        title: "لم نجد طلبك في النظام بعد",
        text: "نواصل البحث عنه. من فضلك لا تطلب مرة ثانية.",
    },
    fulfilled: Message {
        title: "تمّت التعبئة", text: "وصلت التعبئة إلى الرقم."
    },
    fulfilled_card_here: Message { title: "بطاقتك جاهزة", text: "الرمز أدناه." },
    fulfilled_card: Message {
        title: "بطاقتك جاهزة", text: "اطلب رمزها من المتجر."
    },
    fulfilled_no_card: Message {
        title: "نجح طلبك", text: "رمز البطاقة لم يصلنا بعد. نواصل متابعة طلبك."
    },
    refunded: Message {
        title: "لم يُنفَّذ طلبك",
        text: "أُعيد المبلغ إلى المتجر. تواصل مع المتجر لمعرفة الخطوة التالية.",
    },
    continued: "هناك طلب آخر يحلّ محلّ هذا الطلب، ونتيجته لا تظهر هنا. اسأل المتجر قبل أن تطلب مرة ثانية.",
    redacted: "انتهى هذا الطلب منذ مدة، وحُذفت تفاصيله.",
    step_received: "استُلم الطلب",
    step_processing: "قيد المعالجة",
    step_queued: "في قائمة الانتظار",
    step_checking: "قيد التحقق",
    step_processed: "تمّت المعالجة",
    step_delivered: "تمّ التنفيذ",
    step_not_delivered: "لم يُنفَّذ",
    mobile: "تعبئة رصيد الهاتف",
    internet: "بطاقة إنترنت",
    product: "الخدمة",
    number: "الرقم",
    plan: "العرض",
    amount: "المبلغ",
    ordered: "وقت الطلب",
    checked: "آخر تحقق",
    tracking: "تتبّع الطلب",
    languages: "اللغة",
    progress: "مراحل الطلب",
    done: "، مكتمل",
    message: "رسالة بخصوص طلبك",
    details: "تفاصيل الطلب",
    currency: "دج",
    offers: "عروض بديلة",
    offers_text: "هذه عروض مقترحة لهذا الرقم. اطلبها من المتجر.",
    card_code: "رمز البطاقة",
    card_ready: "تُسجَّل كل مرة يظهر فيها الرمز. أظهره بعيدًا عن أنظار الآخرين.",
    card_show: "إظهار الرمز",
    card_hide: "إخفاء الرمز",
    card_keep: "احتفظ بهذا الرمز لنفسك: من يعرفه يستطيع استعماله.",
    help: "الاتصال بالمتجر",
    updates: "تُحدَّث هذه الصفحة تلقائيًا.",
    ended: "انتهى تتبّع هذا الطلب.",
    opens_nothing: Message {
        title: "هذا الرابط غير صالح",
        text: "قد يكون ناقصًا أو منتهي الصلاحية. اطلب رابطًا جديدًا من المتجر.",
    },
    unavailable: Message {
        title: "الصفحة غير متاحة الآن", text: "طلبك لم يتأثر. حاول مرة أخرى بعد دقيقة."
    },
};

static FRENCH: Words = Words {
    tag: "fr",
    name: "Français",
    direction: "ltr",
    received: Message {
        title: "Nous avons reçu votre commande",
        text: "Elle a été transmise et nous attendons la réponse. Vous n’avez rien à faire.",
    },
    processing: Message {
        title: "Votre commande est en cours de traitement",
        text: "L’opérateur traite votre commande. Vous n’avez rien à faire.",
    },
    queued: Message {
        title: "Votre commande est en file d’attente",
        text: "Délai annoncé\u{a0}: 12 à 48 heures, à compter du {since}. Inutile de commander une seconde fois.",
    },
    queued_long: "Les 48 heures sont passées. Nous suivons votre commande jusqu’au résultat.",
    uncertain: Message {
        title: "Nous attendons la confirmation de votre commande",
        text: "Le résultat n’est pas encore confirmé\u{202f}; cela peut prendre jusqu’à 24 heures. Nous continuons à suivre votre commande. Merci de ne pas commander une seconde fois.",
    },
    uncertain_outcomes: "Rien n’est perdu\u{a0}: soit la recharge est effectuée, soit le montant est rendu à la boutique.",
    uncertain_long: "Les 24 heures sont passées sans confirmation. Nous continuons à suivre votre commande. Vous pouvez contacter la boutique.",
    delayed: Message {
        title: "Votre commande prend plus de temps que d’habitude",
        text: "Nous n’avons pas encore le résultat. Nous continuons à suivre votre commande. Merci de ne pas commander une seconde fois.",
    },
    not_found: Message {
        title: "Votre commande n’apparaît pas encore dans le système",
        text: "Nous continuons à la rechercher. Merci de ne pas commander une seconde fois.",
    },
    fulfilled: Message { title: "Recharge effectuée", text: "La recharge est arrivée sur le numéro." },
    fulfilled_card_here: Message { title: "Votre carte est prête", text: "Son code se trouve ci-dessous." },
    fulfilled_card: Message { title: "Votre carte est prête", text: "Demandez son code à la boutique." },
    fulfilled_no_card: Message {
        title: "Votre commande a abouti",
        text: "Le code de la carte ne nous est pas encore parvenu. Nous continuons à suivre votre commande.",
    },
    refunded: Message {
        title: "Votre commande n’a pas abouti",
        text: "Le montant a été rendu à la boutique. Contactez-la pour la suite.",
    },
    continued: "Une autre commande prend la suite de celle-ci\u{202f}; son résultat ne figure pas ici. Demandez à la boutique avant de commander une seconde fois.",
    redacted: "Cette commande est terminée depuis un certain temps\u{202f}; ses détails ont été supprimés.",
    step_received: "Reçue",
    step_processing: "En cours",
    step_queued: "En file d’attente",
    step_checking: "En vérification",
    step_processed: "Traitée",
    step_delivered: "Effectuée",
    step_not_delivered: "Non aboutie",
    mobile: "Recharge mobile",
    internet: "Carte Internet",
    product: "Service",
    number: "Numéro",
    plan: "Offre",
    amount: "Montant",
    ordered: "Commandée le",
    checked: "Dernière vérification",
    tracking: "Suivi de commande",
    languages: "Langue",
    progress: "Étapes de la commande",
    done: ", étape terminée",
    message: "Message concernant votre commande",
    details: "Détails de la commande",
    currency: "DA",
    offers: "Autres offres",
    offers_text: "Ces offres sont proposées pour ce numéro. Demandez-les à la boutique.",
    card_code: "Code de la carte",
    card_ready: "Chaque affichage du code est enregistré. Affichez-le à l’abri des regards.",
    card_show: "Afficher le code",
    card_hide: "Masquer le code",
    card_keep: "Gardez ce code pour vous\u{a0}: toute personne qui le connaît peut l’utiliser.",
    help: "Contacter la boutique",
    updates: "Cette page se met à jour automatiquement.",
    ended: "Le suivi de cette commande est terminé.",
    opens_nothing: Message {
        title: "Ce lien n’est pas valable",
        text: "Il est peut-être incomplet ou expiré. Demandez un nouveau lien à la boutique.",
    },
    unavailable: Message {
        title: "La page n’est pas disponible pour le moment",
        text: "Votre commande n’en est pas affectée. Réessayez dans une minute.",
    },
};

static ENGLISH: Words = Words {
    tag: "en",
    name: "English",
    direction: "ltr",
    received: Message {
        title: "We have received your order",
        text: "It has been sent, and we are waiting for an answer. You do not need to do anything.",
    },
    processing: Message {
        title: "Your order is being processed",
        text: "The operator is processing your order. You do not need to do anything.",
    },
    queued: Message {
        title: "Your order is queued",
        text: "The stated time is 12 to 48 hours, counted from {since}. There is no need to order again.",
    },
    queued_long: "The 48 hours have passed. We keep checking until we know the result.",
    uncertain: Message {
        title: "We are waiting for your order to be confirmed",
        text: "The result is not confirmed yet; this can take up to 24 hours. We keep checking. Please do not order again.",
    },
    uncertain_outcomes: "Nothing is lost: either the top-up arrives, or the amount is returned to the shop.",
    uncertain_long: "The 24 hours have passed without a confirmation. We keep checking. You can contact the shop.",
    delayed: Message {
        title: "Your order is taking longer than usual",
        text: "The result is not known yet. We keep checking. Please do not order again.",
    },
    not_found: Message {
        title: "Your order does not show up in the system yet",
        text: "We keep looking for it. Please do not order again.",
    },
    fulfilled: Message { title: "Your top-up is delivered", text: "It has reached the number." },
    fulfilled_card_here: Message { title: "Your card is ready", text: "Its code is below." },
    fulfilled_card: Message { title: "Your card is ready", text: "Ask the shop for its code." },
    fulfilled_no_card: Message {
        title: "Your order has succeeded",
        text: "The code of the card has not reached us yet. We keep checking.",
    },
    refunded: Message {
        title: "Your order was not delivered",
        text: "The amount has been returned to the shop. Contact the shop about what comes next.",
    },
    continued: "Another order continues this one; its result is not shown here. Ask the shop before you order again.",
    redacted: "This order ended some time ago, and its details have been deleted.",
    step_received: "Received",
    step_processing: "Processing",
    step_queued: "Queued",
    step_checking: "Being checked",
    step_processed: "Processed",
    step_delivered: "Delivered",
    step_not_delivered: "Not delivered",
    mobile: "Mobile top-up",
    internet: "Internet card",
    product: "Service",
    number: "Number",
    plan: "Plan",
    amount: "Amount",
    ordered: "Ordered",
    checked: "Last checked",
    tracking: "Order tracking",
    languages: "Language",
    progress: "Progress of the order",
    done: ", done",
    message: "Message about your order",
    details: "Order details",
    currency: "DZD",
    offers: "Other offers",
    offers_text: "These offers are suggested for this number. Ask the shop for them.",
    card_code: "Card code",
    card_ready: "Each time the code is shown, this is recorded. Show it when nobody is looking.",
    card_show: "Show the code",
    card_hide: "Hide the code",
    card_keep: "Keep this code to yourself: anyone who knows it can use it.",
    help: "Contact the shop",
    updates: "This page updates by itself.",
    ended: "The tracking of this order has ended.",
    opens_nothing: Message {
        title: "This link does not work",
        text: "It may be incomplete, or it has expired. Ask the shop for a new link.",
    },
    unavailable: Message {
        title: "The page is not available right now",
        text: "Your order is not affected. Try again in a minute.",
    },
};
