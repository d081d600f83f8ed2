//! Ways of writing sessions of which no sample lies beside: values that Python and Java wrote, and envelopes that are
//! made here as their frameworks' sources describe them.

use aes::cipher::{KeyIvInit, StreamCipher};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use ring::{aead, hmac};

use super::decode::laravel::Serialization;
use super::envelope::{Cipher, Encrypter};
use super::preset::{Kind, Options};
use super::value::Decoded;
use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_795_224_600);

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16));
    pairs.collect::<Result<_, _>>().unwrap()
}

/// The identifier at a path, as text; `-` for none and `!` for one that cannot be used or a session that cannot be read.
fn at(decoder: &Decoder, value: &[u8], path: &str) -> String {
    let raw = if decoder.reads_hash() {
        Raw::Hash(vec![(b"f".to_vec(), value.to_vec())])
    } else {
        Raw::Text(value.to_vec())
    };
    let Ok(session) = decoder.decode(&raw) else { return "!".to_owned() };
    match locate::identifier(&session, &[Path::parse(path)], false) {
        Ok(id) => id.unwrap_or_else(|| "-".to_owned()),
        Err(_) => "!".to_owned(),
    }
}

/// `_auth_user_id` beside a datetime, a UUID, an `OrderedDict`, sets, tuples, bytes, a number of 71 bits, a Decimal, lists
/// and a defaultdict, as Python 3.11 pickles them.
const PICKLES: [&str; 3] = [
    "80037d710028580d0000005f617574685f757365725f696471015802000000343271025804000000626c6f627103430178710458010000006e\
     71054e752e",
    "8004956f010000000000007d94288c0d5f617574685f757365725f6964948c023432948c047768656e948c086461746574696d65948c086461\
     746574696d65949394430a07ea010100000000000094859452948c0175948c0475756964948c04555549449493942981947d948c03696e7494\
     4b0573628c016f948c0b636f6c6c656374696f6e73948c0b4f726465726564446963749493942952948c0161944b01738c0173948f94284b01\
     4b02908c016694284b0191948c017494284b014b024b034b0474948c016294430178948c026261948c086275696c74696e73948c0962797465\
     617272617994939443017194859452948c03626967948a090000000000000000408c036e6567944afbffffff8c0164948c07646563696d616c\
     948c07446563696d616c9493948c03312e3594859452948c016e944e8c016c945d94284b015d944b0261658c0264649468128c0b6465666175\
     6c746469637494939468208c046c697374949394859452948c016b945d944b016173752e",
    "80059562010000000000007d94288c0d5f617574685f757365725f6964948c023432948c047768656e948c086461746574696d65948c086461\
     746574696d65949394430a07ea010100000000000094859452948c0175948c0475756964948c04555549449493942981947d948c03696e7494\
     4b0573628c016f948c0b636f6c6c656374696f6e73948c0b4f726465726564446963749493942952948c0161944b01738c0173948f94284b01\
     4b02908c016694284b0191948c017494284b014b024b034b0474948c016294430178948c0262619496010000000000000071948c0362696794\
     8a090000000000000000408c036e6567944afbffffff8c0164948c07646563696d616c948c07446563696d616c9493948c03312e3594859452\
     948c016e944e8c016c945d94284b015d944b0261658c0264649468128c0b64656661756c74646963749493948c086275696c74696e73948c04\
     6c697374949394859452948c016b945d944b016173752e",
];

#[test]
fn pickled_objects_are_read_over_and_the_user_beside_them_is_found() {
    for pickle in &PICKLES {
        assert_eq!(at(&Decoder::Pickle, &bytes(pickle), "/_auth_user_id"), "42");
    }
    for pickle in &PICKLES[1..] {
        let value = bytes(pickle);
        for (path, found) in [
            ("/when", "!"),
            ("/u", "!"),
            ("/o", "!"),
            ("/s", "!"),
            ("/b", "!"),
            ("/big", "!"),
            ("/neg", "-5"),
            ("/n", "-"),
            ("/t/3", "4"),
            ("/l/1/0", "2"),
            ("/l/01", "-"),
        ] {
            assert_eq!(at(&Decoder::Pickle, &value, path), found, "{path}");
        }
    }
}

#[test]
fn an_object_that_is_built_in_place_of_the_user_is_no_identity() {
    // A dict that BUILD changes behind our back, and the same dict through the memo.
    let built = b"\x80\x04}\x94\x8c\x07user_id\x94K*s}b.";
    assert_eq!(at(&Decoder::Pickle, built, "/user_id"), "-");
    let twice = b"\x80\x04}(\x8c\x07user_idK*\x8c\x07user_idK\x01u.";
    assert_eq!(at(&Decoder::Pickle, twice, "/user_id"), "!", "which of the two counts?");
}

#[test]
fn javas_scalars_are_read_and_an_object_is_no_identity() {
    let number = "7872 0010 6a6176612e6c616e672e4e756d626572 86ac951d0b94e08b 02 0000 78 70";
    for (value, found) in [
        (format!("aced0005 7372 000e 6a6176612e6c616e672e4c6f6e67 3b8be490cc8f23df 02 0001 4a 0005 76616c7565 {number} 000000000000002a"), "42"),
        (format!("aced0005 7372 0011 6a6176612e6c616e672e496e7465676572 12e2a0a4f7818738 02 0001 49 0005 76616c7565 {number} 0000002a"), "42"),
        (format!("aced0005 7372 000f 6a6176612e6c616e672e53686f7274 684d37133460da52 02 0001 53 0005 76616c7565 {number} 002a"), "42"),
        (format!("aced0005 7372 000e 6a6176612e6c616e672e42797465 9c4e6084ee50f51c 02 0001 42 0005 76616c7565 {number} 2a"), "42"),
        ("aced0005 7372 0011 6a6176612e6c616e672e426f6f6c65616e cd207280d59cfaee 02 0001 5a 0005 76616c7565 7870 01".to_owned(), "!"),
        ("aced0005 74 0002 3432".to_owned(), "42"),
        // Beyond the first plane, in two surrogates; one alone is no text.
        ("aced0005 74 0006 eda0bdedb880".to_owned(), "\u{1f600}"),
        ("aced0005 74 0003 eda0bd".to_owned(), "!"),
        ("aced0005 70".to_owned(), "-"),
        ("aced0005 7372 000e 6a6176612e7574696c2e55554944 bc9903f7986d852f 02 0002 4a 000c 6c65617374536967426974734a000b6d6f737453696742697473 7870 9f7ddf96679d32fe33fdd1b6b4964b33".to_owned(), "33fdd1b6-b496-4b33-9f7d-df96679d32fe"),
        ("aced0005 7372 000e 6a6176612e7574696c2e44617465 686a81014b597419 03 0000 7870 7708 0000000000000000 78".to_owned(), "-"),
        ("aced0005 74 0002 3432 00".to_owned(), "!"),
        ("aced0005 74 ffff 3432".to_owned(), "!"),
    ] {
        assert_eq!(at(&Decoder::Spring, &bytes(&value), "/f"), found, "{value}");
    }
    for (json, found) in
        [("42", "42"), ("\"42\"", "42"), ("[\"java.lang.Long\",42]", "42"), ("{\"id\":42}", "-"), ("4x", "!")]
    {
        assert_eq!(at(&Decoder::Spring, json.as_bytes(), "/f"), found, "{json}");
    }
}

#[test]
fn php_sessions_are_read_in_all_their_ways() {
    assert_eq!(at(&Decoder::PhpBinary, b"\x07user_idi:42;\x0bplatform_idi:7;", "/platform_id"), "7");
    assert_eq!(at(&Decoder::PhpBinary, b"\x87user_idi:42;", "/user_id"), "!");
    let rich = b"a|O:1:\"C\":1:{s:1:\"x\";a:1:{i:0;N;}}r|a:1:{i:0;s:2:\"42\";}e|E:6:\"A:Main\";c|C:1:\"C\":3:{abc}s|R:5;o|r:2;";
    for (path, found) in [
        ("/r/0", "42"),
        ("/s", "42"),
        ("/s/0", "-"),
        ("/a", "-"),
        ("/a/x", "-"),
        ("/e", "!"),
        ("/c", "!"),
        ("/o", "-"),
    ] {
        assert_eq!(at(&Decoder::Php, rich, path), found, "{path}");
    }
    for wrong in
        ["user_id|i:42", "user_id|i:+42;", "user_id|i:42;x", "user_id|R:9;", "a|a:1:{i:0;i:1;", "a|b:2;", "|"]
    {
        assert_eq!(at(&Decoder::Php, wrong.as_bytes(), "/user_id"), "!", "{wrong}");
    }
    let twice = b"user_id|i:1;user_id|i:42;";
    assert_eq!(at(&Decoder::Php, twice, "/user_id"), "!");
}

#[test]
fn a_token_of_symfony_is_opened_where_it_stands_and_only_if_it_lets_somebody_in() {
    let token = |truth: &str| {
        format!(
            "O:1:\"T\":2:{{i:0;s:4:\"main\";i:1;a:2:{{i:0;O:1:\"U\":1:{{s:5:\"\0U\0id\";i:42;}}i:1;{truth}}}}}"
        )
    };
    let session = |name: &str, token: &str| {
        format!("_sf2_attributes|a:1:{{s:{}:\"{name}\";s:{}:\"{token}\";}}", name.len(), token.len())
    };
    let read = |session: String, path: &str| at(&Decoder::Php, session.as_bytes(), path);
    let path = "/_sf2_attributes/_security_main/1/0/id";
    assert_eq!(read(session("_security_main", &token("b:1;")), path), "42");
    for truth in ["b:0;", "N;", "i:1;", "b:1;i:1;b:0;"] {
        assert_eq!(read(session("_security_main", &token(truth)), path), "-", "{truth}");
    }
    assert_eq!(read(session("_security_main", &format!("{}x", token("b:1;"))), path), "-");
    assert_eq!(read(session("security_main", &token("b:1;")), "/_sf2_attributes/security_main/1/0/id"), "-");
    let top = token("b:1;");
    let top = format!("_security_main|s:{}:\"{top}\";", top.len());
    assert_eq!(read(top, "/_security_main/1/0/id"), "42");
    // A token within a token, as deep as it goes.
    let nested = (0..200).fold(token("b:1;"), |inner, _| {
        format!("O:1:\"T\":1:{{s:11:\"_security_a\";s:{}:\"{inner}\";}}", inner.len())
    });
    assert_eq!(read(session("_security_main", &nested), path), "-");
}

#[test]
fn tokens_of_symfony_together_take_no_more_text_than_a_session() {
    let genuine = "O:1:\"T\":2:{i:0;s:4:\"main\";i:1;a:2:{i:0;O:1:\"U\":1:{s:5:\"\0U\0id\";i:42;}i:1;b:1;}}";
    let heavy = "x".repeat(value::MOST_BYTES / 4);
    // One text under several names, a genuine token behind them, and something that is no token.
    let php = |refers: &str, times: usize| {
        let again: Vec<_> = (0..times).map(|number| format!("_security_{number}|{refers}:1;")).collect();
        let (again, length, size) = (again.concat(), heavy.len(), genuine.len());
        format!(
            "_security_a|s:{length}:\"{heavy}\";{again}_security_main|s:{size}:\"{genuine}\";user_id|i:7;"
        )
        .into_bytes()
    };
    let igbinary = |times: usize| {
        let text = |text: &str| [&[0x11, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let mut session = [&bytes("00000002 14")[..], &[u8::try_from(times + 3).unwrap()]].concat();
        session.extend([text("_security_a"), bytes("13 00010000"), heavy.clone().into_bytes()].concat());
        for number in 0..times {
            session.extend([text(&format!("_security_{number}")), bytes("0e 01")].concat());
        }
        session.extend([text("_security_main"), text(genuine), text("user_id"), bytes("06 07")].concat());
        session
    };
    // The fourth of these texts leaves nothing for the genuine token.
    for (times, found) in [(0, "42"), (2, "42"), (3, "-"), (8, "-"), (100, "-")] {
        for (decoder, session) in [
            (Decoder::Php, php("R", times)),
            (Decoder::Php, php("r", times)),
            (Decoder::Igbinary, igbinary(times)),
        ] {
            let named = format!("{decoder:?}, referred to {times} times");
            assert_eq!(at(&decoder, &session, "/_security_main/1/0/id"), found, "{named}");
            assert_eq!(at(&decoder, &session, "/user_id"), "7", "{named}");
        }
    }
}

#[test]
fn igbinary_and_phps_messagepack_know_objects_and_references() {
    let igbinary = "00000002 14 06 1107 757365725f6964 062a 1103 6f626a 1708 737464436c617373 1401 1101 6b 1101 76 \
                    1104 72656631 25 1401 0600 1102 3432 1104 72656632 25 0102 1101 66 0c 3ff8000000000000 0600 0e03";
    for (path, found) in [
        ("/user_id", "42"),
        ("/obj", "-"),
        ("/obj/k", "-"),
        ("/ref1/0", "42"),
        ("/ref2/0", "42"),
        ("/f", "!"),
        ("/0", "k"),
    ] {
        assert_eq!(at(&Decoder::Igbinary, &bytes(igbinary), path), found, "{path}");
    }
    // A scalar that is referred to twice has one number, and a case of an enum is read over.
    let referred = "00000002 14 07 110161 250605 110162 250101 110163 25 1401 0600 0601 110164 2500 110165 250102 \
                    110166 17 0153 27 110141 110167 0607";
    for (path, found) in [("/b", "5"), ("/e/0", "1"), ("/f", "-"), ("/g", "7")] {
        assert_eq!(at(&Decoder::Igbinary, &bytes(referred), path), found, "{path}");
    }
    for wrong in [
        "00000003 14 00",
        "00000002 14 01 110166 17 0153 27 14",
        "00000002 14 01 1101 61",
        "00000002 14 01 1101 61 0e09",
        "00000002 14 00 00",
        "00000002 16 ffffffff",
    ] {
        assert_eq!(at(&Decoder::Igbinary, &bytes(wrong), "/a"), "!", "{wrong}");
    }
    // {nil: 1, "user_id": 42, "o": {nil: "C", "id": 7}}
    let msgpack = "83 c0 01 a7 757365725f6964 2a a1 6f 82 c0 a1 43 a2 6964 07";
    for (path, found) in [("/user_id", "42"), ("/o", "!"), ("/o/id", "-")] {
        assert_eq!(at(&Decoder::Msgpack, &bytes(msgpack), path), found, "{path}");
    }
}

/// `{"user_id" => 42}`
const MARSHAL: &str = "0408 7b06 49 220c 757365725f6964 06 3a06 45 54 692f";

fn rails(value: Vec<u8>) -> Result<Decoded, DecodeError> {
    Decoder::Rails.decode(&Raw::Text(value))
}

#[test]
fn entries_of_the_rails_cache_are_read_in_every_version_and_end_when_they_say() {
    let user = |session: &Decoded| locate::identifier(session, &[Path::parse("/user_id")], false).unwrap();
    let compressed = miniz_oxide::deflate::compress_to_vec_zlib(&bytes(MARSHAL), 6);
    let head = |kind: u8, ends: f64, version: i32| {
        [&[0x00, 0x11, kind][..], &ends.to_le_bytes(), &version.to_le_bytes()].concat()
    };
    let soon = 1_795_224_660.5;
    for (value, ends) in [
        ([&[0x00][..], &bytes(MARSHAL)].concat(), None),
        ([&[0x01][..], &compressed].concat(), None),
        (
            [&bytes("00 0408 5b07")[..], &bytes(MARSHAL)[2..], &bytes("66 11"), b"1795224660.5"].concat(),
            Some(soon),
        ),
        ([head(1, -1.0, -1), bytes(MARSHAL)].concat(), None),
        ([head(1, soon, 1), b"1".to_vec(), bytes(MARSHAL)].concat(), Some(soon)),
        ([head(0x81, soon, -1), compressed.clone()].concat(), Some(soon)),
        (b"{\"user_id\":42}".to_vec(), None),
        (bytes(MARSHAL), None),
    ] {
        let Ok(session) = rails(value.clone()) else { panic!("{value:?}") };
        assert_eq!(user(&session).as_deref(), Some("42"), "{value:?}");
        if let Some(ends) = ends.filter(|ends| (*ends - soon).abs() < 0.001) {
            let millis = session.ends.unwrap().as_millis();
            assert_eq!(millis, 1_795_224_660_500, "{ends}");
        }
    }
    for wrong in [
        head(2, -1.0, -1),
        head(1, -1.0, 99),
        head(1, f64::NAN, i32::MAX),
        bytes("01ffff"),
        bytes("0011"),
        Vec::new(),
    ] {
        assert!(rails(wrong.clone()).is_err(), "{wrong:?}");
    }
}

#[test]
fn marshalled_objects_are_read_over_and_links_lead_where_they_should() {
    // [Time (dumped, with a zone), "42", link to "42", Symbol, BigDecimal (dumped), 2**31]
    let value = "0408 5b0b 4975 3a09 54696d65 0d 0000000000000000 06 3a09 7a6f6e65 4922 08 555443 06 3a06 45 46 \
                 2207 3432 4008 3a06 61 75 3a0f 426967446563696d616c 06 31 6c2b07 00000080";
    let bytes = bytes(value);
    for (path, found) in [("/1", "42"), ("/0", "!"), ("/3", "a"), ("/5", "2147483648")] {
        assert_eq!(at(&Decoder::Marshal, &bytes, path), found, "{path}");
    }
}

#[test]
fn laravel_opens_what_gcm_sealed_and_a_cookie_of_another_name_is_refused() {
    let key = [7_u8; 32];
    let seal = |plain: &str| {
        let sealing = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, &key).unwrap());
        let mut text = plain.as_bytes().to_vec();
        let nonce = aead::Nonce::assume_unique_for_key([9; 12]);
        let tag = sealing.seal_in_place_separate_tag(nonce, aead::Aad::empty(), &mut text).unwrap();
        let json = format!(
            "{{\"iv\":\"{}\",\"value\":\"{}\",\"mac\":\"\",\"tag\":\"{}\"}}",
            STANDARD.encode([9; 12]),
            STANDARD.encode(text),
            STANDARD.encode(tag.as_ref())
        );
        STANDARD.encode(json)
    };
    let options = |cipher| Options {
        secrets: vec![
            Secret::from(format!("base64:{}", STANDARD.encode([1_u8; 32])).as_str()),
            Secret::new(key.to_vec()),
        ],
        prefix: Some("p_".to_owned()),
        cipher,
        ..Options::default()
    };
    let proof = |name: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
        hex(hmac::sign(&key, format!("{name}v2").as_bytes()).as_ref())
    };
    let id = "a".repeat(40);
    let claim = |cipher, cookie: &str| {
        let value = cookie.replace('=', "%3D").replace('+', "%2B");
        let format = Kind::Laravel.format(options(cipher)).unwrap();
        format
            .claim(Written { value: value.as_bytes(), spaced: false }, None)
            .map(|claimed| claimed.key.expose().to_vec())
    };
    let genuine = seal(&format!("{}|{id}", proof("laravel_session")));
    assert_eq!(claim(Cipher::Gcm, &genuine).unwrap(), format!("p_{id}").into_bytes());
    assert_eq!(
        claim(Cipher::Cbc, &genuine),
        Err(Refusal::Forged),
        "the application would not open it either"
    );
    assert_eq!(claim(Cipher::Gcm, &seal(&format!("{}|{id}", proof("XSRF-TOKEN")))), Err(Refusal::Forged));
    assert_eq!(claim(Cipher::Gcm, &seal(&id)), Err(Refusal::Forged));

    let encrypter = Encrypter::new(Cipher::Gcm, &[Secret::new(key.to_vec())]);
    let session = seal("s:16:\"a:1:{s:1:\"u\";i:7;}\";").into_bytes();
    let inner = "a:1:{s:1:\"u\";i:7;}";
    let session_of = |inner: &str| {
        let sealed = seal(&format!("s:{}:\"{inner}\";", inner.len()));
        format!("s:{}:\"{sealed}\";", sealed.len()).into_bytes()
    };
    let decoder = Decoder::Laravel(encrypter, Serialization::Either);
    assert_eq!(at(&decoder, &session_of(inner), "/u"), "7");
    assert_eq!(at(&decoder, &session, "/u"), "!", "an envelope is kept as a string");
    let plain = format!("s:{}:\"{inner}\";", inner.len());
    assert_eq!(at(&decoder, plain.as_bytes(), "/u"), "!", "an application that encrypts does not read it");
}

#[test]
fn gorilla_opens_encrypted_cookies_in_time() {
    let (hash, block) = ([3_u8; 32], [5_u8; 32]);
    let id = "A".repeat(52);
    let gob = [&[0x37, 0x0c, 0x00, 0x34][..], id.as_bytes()].concat();
    let mut encrypted = gob.clone();
    ctr::Ctr128BE::<aes::Aes256>::new_from_slices(&block, &[8; 16]).unwrap().apply_keystream(&mut encrypted);
    let content = URL_SAFE.encode([&[8; 16][..], &encrypted].concat());
    let time = NOW.as_secs();
    let mac =
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &hash), format!("sid|{time}|{content}").as_bytes());
    let cookie = URL_SAFE.encode([format!("{time}|{content}|").as_bytes(), mac.as_ref()].concat());
    let claim = |blocks: Vec<Secret>| {
        let options = Options {
            cookie: Some("sid".to_owned()),
            secrets: vec![Secret::new(hash.to_vec())],
            block_keys: blocks,
            ..Options::default()
        };
        let format = Kind::Gorilla.format(options).unwrap();
        format.claim(Written { value: cookie.as_bytes(), spaced: false }, None)
    };
    let claimed = claim(vec![Secret::new(block.to_vec())]).unwrap();
    assert_eq!(claimed.key.expose_text().unwrap(), format!("session_{id}"));
    assert_eq!(claimed.ends.unwrap().as_secs(), time + 30 * 24 * 3600);
    assert!(claim(Vec::new()).is_err());
    assert!(claim(vec![Secret::new(vec![6; 32])]).is_err());
}

#[test]
fn a_compressed_session_is_inflated_up_to_the_limit() {
    let compress = |text: &[u8]| miniz_oxide::deflate::compress_to_vec_zlib(text, 6);
    assert_eq!(at(&Decoder::Django, &compress(b"{\"_auth_user_id\": \"42\"}"), "/_auth_user_id"), "42");
    let bomb = compress(&vec![b' '; 64 * 1024 * 1024]);
    assert!(bomb.len() < value::MOST_BYTES);
    assert_eq!(Decoder::Django.decode(&Raw::Text(bomb)).unwrap_err(), DecodeError::TooLarge);
}

#[test]
fn too_large_too_deep_and_too_many_are_told_apart() {
    let json = |text: String| Decoder::Json.decode(&Raw::Text(text.into_bytes())).map(drop);
    assert_eq!(json(" ".repeat(value::MOST_BYTES + 1)), Err(DecodeError::TooLarge));
    assert_eq!(json(format!("{}1{}", "[".repeat(33), "]".repeat(33))), Err(DecodeError::TooDeep));
    assert_eq!(json(format!("{}1{}", "[".repeat(32), "]".repeat(32))), Ok(()));
    assert_eq!(json(format!("[{}1]", "1,".repeat(10_000))), Err(DecodeError::TooMany));
    // Keys are no values.
    let object = |count: usize| {
        format!("{{{}}}", (0..count).map(|key| format!("\"{key}\":1")).collect::<Vec<_>>().join(","))
    };
    assert_eq!(json(object(9_900)), Ok(()));
    assert_eq!(json(object(10_100)), Err(DecodeError::TooMany));
    assert_eq!(json("[1,]".to_owned()), Err(DecodeError::Malformed("JSON")));
}

#[test]
fn numbers_beyond_what_javascript_can_tell_apart_are_no_identity_there() {
    let session = Decoder::Json.decode(&Raw::Text(br#"{"id":9007199254740993}"#.to_vec())).unwrap();
    let id = |is_javascript| locate::identifier(&session, &[Path::parse("/id")], is_javascript);
    assert_eq!(id(true), Err(locate::Unusable::NotOne));
    assert_eq!(id(false), Ok(Some("9007199254740993".to_owned())));
}

#[test]
fn times_are_read_in_every_way_that_frameworks_write_them() {
    let moment = |json: &str| {
        let session = Decoder::Json.decode(&Raw::Text(format!("{{\"t\":{json}}}").into_bytes())).unwrap();
        locate::moment(&session, &[Path::parse("/t")]).map(|moment| moment.map(Timestamp::as_millis))
    };
    for json in [
        "1795224600",
        "1795224600000",
        "1795224600.0",
        "\"2026-11-21T01:30:00Z\"",
        "\"2026-11-21T01:30:00.000001+00:00\"",
        "\"2026-11-21T02:30:00+01:00\"",
        "\"2026-11-21T01:30:00\"",
        "\"2026-11-21 01:30:00\"",
        "\"1795224600\"",
        "\"1795224600.000123\"",
    ] {
        assert_eq!(moment(json), Ok(Some(NOW.as_millis())), "{json}");
    }
    assert_eq!(moment("null"), Ok(None));
    for json in ["true", "-1", "\"\"", "\"tomorrow\"", "\".\"", "\"1.2.3\"", "1e300", "[]"] {
        assert_eq!(moment(json), Err(locate::Unusable::NotOne), "{json}");
    }
}

#[test]
fn a_field_that_says_the_session_is_over_counts_before_redis_does() {
    let format = |kind: Kind, ends: Option<&str>| {
        let options = Options {
            cookie: Some("c".to_owned()),
            prefix: Some("p:".to_owned()),
            secrets: vec![Secret::from("s")],
            ends: ends.map(Path::parse),
            ..Options::default()
        };
        kind.format(options).unwrap()
    };
    let later = NOW.plus(std::time::Duration::from_mins(10));
    let read = |format: &Format, json: &str| {
        format.read(&Raw::Text(json.into()), Some(later), NOW).map(|found| found.ends)
    };
    let koa = format(Kind::Koa, None);
    assert_eq!(read(&koa, r#"{"user_id":1,"_expire":1795224599999}"#), Err(Refusal::Expired));
    assert_eq!(
        read(&koa, r#"{"user_id":1,"_expire":1795224601000}"#),
        Ok(NOW.plus(std::time::Duration::from_secs(1)))
    );
    assert_eq!(read(&koa, r#"{"user_id":1}"#), Ok(later));
    let better = format(Kind::BetterAuth, None);
    assert_eq!(read(&better, r#"{"user":{"id":"1"},"session":{}}"#), Err(Refusal::Unusable));
    let json = format(Kind::Json, Some("/until"));
    assert_eq!(read(&json, r#"{"user_id":1,"until":"2025-01-01T00:00:00Z"}"#), Err(Refusal::Expired));
    assert_eq!(read(&json, r#"{"user_id":null}"#), Err(Refusal::Anonymous));
    assert_eq!(read(&json, r#"{"user_id":1,"platform_id":true}"#), Err(Refusal::Unusable));
}
