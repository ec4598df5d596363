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
pub struct Said {
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
    pub(crate) received: Said,
    pub(crate) processing: Said,
    pub(crate) queued: Said,
    pub(crate) queued_long: &'static str,
    pub(crate) uncertain: Said,
    pub(crate) delayed: Said,
    pub(crate) not_found: Said,
    pub(crate) fulfilled: Said,
    /// The text for an order of an internet card instead: with the card on this page, at the shop, and while it is missing.
    pub(crate) fulfilled_card_here: &'static str,
    pub(crate) fulfilled_card: &'static str,
    pub(crate) fulfilled_no_card: &'static str,
    pub(crate) refunded: Said,
    /// The text of an order whose personal data was removed.
    pub(crate) redacted: &'static str,
    pub(crate) nothing_lost: &'static str,
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
    pub(crate) gone: Said,
    pub(crate) unavailable: Said,
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
    received: Said {
        title: "استلمنا طلبك", text: "أُرسل طلبك ونحن ننتظر ردّ المتعامل. ليس عليك فعل أي شيء."
    },
    processing: Said {
        title: "عملية التعبئة قيد المعالجة",
        text: "المتعامل يعالج طلبك الآن. ليس عليك فعل أي شيء.",
    },
    queued: Said {
        title: "طلبك في قائمة الانتظار",
        text: "ستُنفَّذ التعبئة خلال 12 إلى 48 ساعة، ابتداءً من {since}. لا حاجة إلى إعادة الطلب.",
    },
    queued_long: "انقضت 48 ساعة. ما زلنا نسأل عن طلبك إلى أن نعرف نتيجته.",
    uncertain: Said {
        title: "ننتظر تأكيد التعبئة",
        text: "لم يؤكّد المتعامل النتيجة بعد، وقد يستغرق ذلك حتى 24 ساعة. ما زلنا نسأل عن طلبك. من فضلك لا تُعد الطلب.",
    },
    delayed: Said {
        title: "التعبئة تستغرق وقتًا أطول من المعتاد",
        text: "لم تصلنا النتيجة بعد. ما زلنا نسأل عن طلبك. من فضلك لا تُعد الطلب.",
    },
    not_found: Said {
        title: "لم يظهر طلبك لدى المتعامل بعد",
        text: "ما زلنا نسأل عن طلبك. من فضلك لا تُعد الطلب.",
    },
    fulfilled: Said { title: "تمّت التعبئة", text: "وصل الرصيد إلى الرقم." },
    fulfilled_card_here: "بطاقتك جاهزة.",
    fulfilled_card: "بطاقتك جاهزة. يمكنك الحصول على الرمز من المتجر.",
    fulfilled_no_card: "تمّ الطلب، ورمز البطاقة لم يصلنا بعد.",
    refunded: Said {
        title: "لم تتمّ التعبئة",
        text: "أُعيد المبلغ إلى المتجر. تواصل مع المتجر لمعرفة الخطوة التالية.",
    },
    redacted: "انتهى هذا الطلب منذ مدة، وحُذفت تفاصيله.",
    nothing_lost: "لم يضِع شيء: إمّا أن تصل التعبئة، وإمّا أن يُعاد المبلغ إلى المتجر.",
    step_received: "استُلم الطلب",
    step_processing: "قيد المعالجة",
    step_queued: "في قائمة الانتظار",
    step_checking: "قيد التحقق",
    step_processed: "تمّت المعالجة",
    step_delivered: "تمّت التعبئة",
    step_not_delivered: "لم تتمّ",
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
    done: "تمّ",
    message: "رسالة المتعامل",
    details: "تفاصيل الطلب",
    currency: "دج",
    offers: "عروض بديلة",
    offers_text: "يقترح المتعامل هذه العروض لهذا الرقم. اطلبها من المتجر.",
    card_code: "رمز البطاقة",
    card_ready: "يُسجَّل كل عرض للرمز. اعرضه عندما تكون وحدك.",
    card_show: "عرض الرمز",
    card_hide: "إخفاء الرمز",
    card_keep: "احتفظ بهذا الرمز لنفسك: من يعرفه يستطيع استعماله.",
    help: "الاتصال بالمتجر",
    updates: "تتحدّث هذه الصفحة تلقائيًا.",
    ended: "انتهى تتبّع هذا الطلب.",
    gone: Said {
        title: "هذا الرابط لا يفتح أي طلب",
        text: "قد يكون الرابط ناقصًا أو انتهت صلاحيته. اطلب رابطًا جديدًا من المتجر.",
    },
    unavailable: Said {
        title: "الصفحة غير متاحة الآن", text: "طلبك لم يتأثر. حاول مرة أخرى بعد دقيقة."
    },
};

static FRENCH: Words = Words {
    tag: "fr",
    name: "Français",
    direction: "ltr",
    received: Said {
        title: "Nous avons reçu votre commande",
        text: "Elle est transmise et nous attendons la réponse de l’opérateur. Vous n’avez rien à faire.",
    },
    processing: Said {
        title: "Votre recharge est en cours",
        text: "L’opérateur traite votre commande. Vous n’avez rien à faire.",
    },
    queued: Said {
        title: "Votre recharge est en file d’attente",
        text: "Elle sera livrée sous 12 à 48 heures à compter du {since}. Inutile de commander une seconde fois.",
    },
    queued_long: "Les 48 heures sont passées. Nous continuons à demander jusqu’à connaître le résultat.",
    uncertain: Said {
        title: "Nous attendons la confirmation de votre recharge",
        text: "L’opérateur n’a pas encore confirmé le résultat ; cela peut prendre jusqu’à 24 heures. Nous continuons à demander. \
               Merci de ne pas commander une seconde fois.",
    },
    delayed: Said {
        title: "Votre recharge prend plus de temps que d’habitude",
        text: "Le résultat n’est pas encore connu. Nous continuons à demander. Merci de ne pas commander une seconde fois.",
    },
    not_found: Said {
        title: "L’opérateur ne montre pas encore votre commande",
        text: "Nous continuons à demander. Merci de ne pas commander une seconde fois.",
    },
    fulfilled: Said { title: "Votre recharge est livrée", text: "Le crédit est sur le numéro." },
    fulfilled_card_here: "Votre carte est prête.",
    fulfilled_card: "Votre carte est prête. La boutique vous en donne le code.",
    fulfilled_no_card: "La commande a abouti. Le code de la carte ne nous est pas encore parvenu.",
    refunded: Said {
        title: "Votre recharge n’a pas été livrée",
        text: "Le montant a été rendu à la boutique. Contactez-la pour la suite.",
    },
    redacted: "Cette commande est terminée depuis un moment ; ses détails ont été effacés.",
    nothing_lost: "Rien n’est perdu : soit la recharge arrive, soit le montant est rendu à la boutique.",
    step_received: "Reçue",
    step_processing: "En cours",
    step_queued: "En file d’attente",
    step_checking: "En vérification",
    step_processed: "Traitée",
    step_delivered: "Livrée",
    step_not_delivered: "Non livrée",
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
    done: "terminé",
    message: "Message de l’opérateur",
    details: "Détails de la commande",
    currency: "DA",
    offers: "Autres offres",
    offers_text: "L’opérateur propose ces offres pour ce numéro. Demandez-les à la boutique.",
    card_code: "Code de la carte",
    card_ready: "Chaque affichage du code est enregistré. Affichez-le à l’abri des regards.",
    card_show: "Afficher le code",
    card_hide: "Masquer le code",
    card_keep: "Gardez ce code pour vous : toute personne qui le connaît peut l’utiliser.",
    help: "Contacter la boutique",
    updates: "Cette page se met à jour toute seule.",
    ended: "Le suivi de cette commande est terminé.",
    gone: Said {
        title: "Ce lien n’ouvre aucune commande",
        text: "Il est peut-être incomplet ou expiré. Demandez un nouveau lien à la boutique.",
    },
    unavailable: Said {
        title: "La page n’est pas disponible",
        text: "Votre commande n’est pas touchée. Réessayez dans une minute.",
    },
};

static ENGLISH: Words = Words {
    tag: "en",
    name: "English",
    direction: "ltr",
    received: Said {
        title: "We have received your order",
        text: "It has been sent, and we are waiting for the operator’s answer. You need not do anything.",
    },
    processing: Said {
        title: "Your top-up is being processed",
        text: "The operator is processing your order. You need not do anything.",
    },
    queued: Said {
        title: "Your top-up is queued",
        text: "It will be delivered within 12 to 48 hours, counted from {since}. There is no need to order again.",
    },
    queued_long: "The 48 hours have passed. We keep asking until we know the result.",
    uncertain: Said {
        title: "We are waiting for your top-up to be confirmed",
        text: "The operator has not confirmed the result yet; this can take up to 24 hours. We keep asking. Please do not order again.",
    },
    delayed: Said {
        title: "Your top-up is taking longer than usual",
        text: "The result is not known yet. We keep asking. Please do not order again.",
    },
    not_found: Said {
        title: "The operator does not show your order yet",
        text: "We keep asking. Please do not order again.",
    },
    fulfilled: Said { title: "Your top-up is delivered", text: "The credit is on the number." },
    fulfilled_card_here: "Your card is ready.",
    fulfilled_card: "Your card is ready. The shop gives you its code.",
    fulfilled_no_card: "The order has succeeded. The code of the card has not reached us yet.",
    refunded: Said {
        title: "Your top-up was not delivered",
        text: "The amount has been returned to the shop. Contact the shop about what comes next.",
    },
    redacted: "This order ended some time ago, and its details have been deleted.",
    nothing_lost: "Nothing is lost: either the top-up arrives, or the amount is returned to the shop.",
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
    done: "done",
    message: "Message from the operator",
    details: "Order details",
    currency: "DZD",
    offers: "Other offers",
    offers_text: "The operator suggests these offers for this number. Ask the shop for them.",
    card_code: "Card code",
    card_ready: "Each time the code is shown, it is recorded. Show it when nobody is looking.",
    card_show: "Show the code",
    card_hide: "Hide the code",
    card_keep: "Keep this code to yourself: anyone who knows it can use it.",
    help: "Contact the shop",
    updates: "This page updates by itself.",
    ended: "The tracking of this order has ended.",
    gone: Said {
        title: "This link opens no order",
        text: "It may be incomplete, or it has expired. Ask the shop for a new link.",
    },
    unavailable: Said {
        title: "The page is not available right now",
        text: "Your order is not affected. Try again in a minute.",
    },
};
