//! The shape of a config as data: every key of spec 3.6, since when it exists, and how its lists are
//! keyed. The front end, the check for duplicates, merging and the Butane translation all walk it.

/// What a value has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Text,
    Integer,
    Flag,
    Object(&'static [Field]),
    List(&'static Shape, Keying),
}

/// A key of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// Minor version of spec 3 that brought it.
    pub(crate) since: u8,
    /// Whether absence differs from an empty value. Where it does not, a merge takes the child's
    /// value even when that is empty.
    pub(crate) optional: bool,
    /// Lists of one object that share one key space.
    pub(crate) family: Option<&'static str>,
}

/// How the entries of a list are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keying {
    /// Not at all: a merge appends, duplicates are fine.
    Append,
    /// By a text in the entry.
    By(&'static str),
    /// The entry is its own key.
    Itself,
    /// By `number`, or by `label` when that is 0.
    Partition,
}

impl Field {
    const fn since(mut self, minor: u8) -> Self {
        self.since = minor;
        self
    }

    const fn required(mut self) -> Self {
        self.optional = false;
        self
    }

    const fn family(mut self, name: &'static str) -> Self {
        self.family = Some(name);
        self
    }
}

const fn field(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        since: 0,
        optional: true,
        family: None,
    }
}

const fn text(name: &'static str) -> Field {
    field(name, Shape::Text)
}

const fn integer(name: &'static str) -> Field {
    field(name, Shape::Integer)
}

const fn flag(name: &'static str) -> Field {
    field(name, Shape::Flag)
}

const fn object(name: &'static str, fields: &'static [Field]) -> Field {
    field(name, Shape::Object(fields))
}

const fn list(name: &'static str, item: &'static Shape, keying: Keying) -> Field {
    field(name, Shape::List(item, keying))
}

const fn texts(name: &'static str, keying: Keying) -> Field {
    list(name, &Shape::Text, keying)
}

/// What to say of a key that no field has, with the field that was likely meant.
pub(crate) fn unknown_key<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> String {
    let similarity = |name: &str| strsim::jaro_winkler(name, &key.to_lowercase());
    let best = known.max_by(|one, other| similarity(one).total_cmp(&similarity(other)));
    match best.filter(|name| similarity(name) > 0.8) {
        Some(name) => format!("unknown key `{key}` is ignored: did you mean `{name}`?"),
        None => format!("unknown key `{key}` is ignored"),
    }
}

/// The whole config.
pub(crate) const CONFIG: Shape = Shape::Object(&[
    object("ignition", IGNITION),
    object(
        "kernelArguments",
        &[
            texts("shouldExist", Keying::Itself).family("kernelArgument"),
            texts("shouldNotExist", Keying::Itself).family("kernelArgument"),
        ],
    )
    .since(3),
    object(
        "passwd",
        &[
            list("groups", &Shape::Object(GROUP), Keying::By("name")),
            list("users", &Shape::Object(USER), Keying::By("name")),
        ],
    ),
    object("storage", STORAGE),
    object(
        "systemd",
        &[list("units", &Shape::Object(UNIT), Keying::By("name"))],
    ),
]);

const IGNITION: &[Field] = &[
    object(
        "config",
        &[
            list("merge", REFERENCE_ITEM, Keying::By("source")),
            object("replace", REFERENCE),
        ],
    ),
    object(
        "proxy",
        &[
            text("httpProxy"),
            text("httpsProxy"),
            texts("noProxy", Keying::Itself),
        ],
    )
    .since(1),
    object(
        "security",
        &[object(
            "tls",
            &[list(
                "certificateAuthorities",
                REFERENCE_ITEM,
                Keying::By("source"),
            )],
        )],
    ),
    object(
        "timeouts",
        &[integer("httpResponseHeaders"), integer("httpTotal")],
    ),
    text("version").required(),
];

/// A resource that takes part in a config before the files stage: compression came later there.
const REFERENCE: &[Field] = &[
    text("compression").since(1),
    HEADERS,
    text("source"),
    VERIFICATION,
];
const REFERENCE_ITEM: &Shape = &Shape::Object(REFERENCE);

const RESOURCE: &[Field] = &[text("compression"), HEADERS, text("source"), VERIFICATION];

const HEADERS: Field = list(
    "httpHeaders",
    &Shape::Object(&[text("name").required(), text("value")]),
    Keying::By("name"),
)
.since(1);

const VERIFICATION: Field = object("verification", &[text("hash")]);

const GROUP: &[Field] = &[
    integer("gid"),
    text("name").required(),
    text("passwordHash"),
    flag("shouldExist").since(2),
    flag("system"),
];

const USER: &[Field] = &[
    text("gecos"),
    texts("groups", Keying::Itself),
    text("homeDir"),
    text("name").required(),
    flag("noCreateHome"),
    flag("noLogInit"),
    flag("noUserGroup"),
    text("passwordHash"),
    text("primaryGroup"),
    texts("sshAuthorizedKeys", Keying::Itself),
    text("shell"),
    flag("shouldExist").since(2),
    flag("system"),
    integer("uid"),
];

const UNIT: &[Field] = &[
    text("contents"),
    list(
        "dropins",
        &Shape::Object(&[text("contents"), text("name").required()]),
        Keying::By("name"),
    ),
    flag("enabled"),
    flag("mask"),
    text("name").required(),
];

const STORAGE: &[Field] = &[
    list("directories", &Shape::Object(DIRECTORY), Keying::By("path")).family("node"),
    list("disks", &Shape::Object(DISK), Keying::By("device")),
    list("files", &Shape::Object(FILE), Keying::By("path")).family("node"),
    list(
        "filesystems",
        &Shape::Object(FILESYSTEM),
        Keying::By("device"),
    ),
    list("links", &Shape::Object(LINK), Keying::By("path")).family("node"),
    list("luks", &Shape::Object(LUKS), Keying::By("name")).since(2),
    list("raid", &Shape::Object(RAID), Keying::By("name")),
];

const OWNER: &[Field] = &[integer("id"), text("name")];
const NODE_GROUP: Field = object("group", OWNER);
const NODE_OVERWRITE: Field = flag("overwrite");
const NODE_PATH: Field = text("path").required();
const NODE_USER: Field = object("user", OWNER);

const DIRECTORY: &[Field] = &[
    NODE_GROUP,
    NODE_OVERWRITE,
    NODE_PATH,
    NODE_USER,
    integer("mode"),
];

const FILE: &[Field] = &[
    NODE_GROUP,
    NODE_OVERWRITE,
    NODE_PATH,
    NODE_USER,
    list("append", &Shape::Object(RESOURCE), Keying::Append),
    object("contents", RESOURCE),
    integer("mode"),
];

const LINK: &[Field] = &[
    NODE_GROUP,
    NODE_OVERWRITE,
    NODE_PATH,
    NODE_USER,
    flag("hard"),
    text("target"),
];

const DISK: &[Field] = &[
    text("device").required(),
    list("partitions", &Shape::Object(PARTITION), Keying::Partition),
    flag("wipeTable"),
];

const PARTITION: &[Field] = &[
    text("guid"),
    text("label"),
    integer("number").required(),
    flag("resize").since(2),
    flag("shouldExist"),
    integer("sizeMiB"),
    integer("startMiB"),
    text("typeGuid"),
    flag("wipePartitionEntry"),
];

const FILESYSTEM: &[Field] = &[
    text("device").required(),
    text("format"),
    text("label"),
    texts("mountOptions", Keying::Append).since(1),
    texts("options", Keying::Append),
    text("path"),
    text("uuid"),
    flag("wipeFilesystem"),
];

const RAID: &[Field] = &[
    texts("devices", Keying::Itself),
    text("level"),
    text("name").required(),
    texts("options", Keying::Append),
    integer("spares"),
];

const LUKS: &[Field] = &[
    object("cex", &[flag("enabled")]).since(5),
    object("clevis", CLEVIS),
    text("device"),
    flag("discard").since(4),
    object("keyFile", RESOURCE),
    text("label"),
    text("name").required(),
    texts("openOptions", Keying::Append).since(4),
    texts("options", Keying::Append),
    text("uuid"),
    flag("wipeVolume"),
];

const CLEVIS: &[Field] = &[
    object(
        "custom",
        &[text("config"), flag("needsNetwork"), text("pin")],
    ),
    list("tang", &Shape::Object(TANG), Keying::By("url")),
    integer("threshold"),
    flag("tpm2"),
];

const TANG: &[Field] = &[
    text("advertisement").since(4),
    text("thumbprint"),
    text("url").required(),
];
