"""Made-up secrets of every kind: true ones, what stands around them, and what only looks like one.

Put together only when a test runs, so that no scanner of this repository takes them for real.
"""

from typing import NamedTuple

ALNUM = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2w3X4y5Z6"
LOWER = ALNUM.lower()
UPPER = ALNUM.upper()
LONG = ALNUM * 3
HEX = "0123456789abcdef" * 4
MIXED = "3f9ac17be02d84615cd0f7a2b94e8163"
UUID = "4f1b6c7a-52d0-4c35-9a0e-2f4f6b1c7d11"


class Planted(NamedTuple):
    """`around % secret` holds the secret; `near` holds none."""

    kind: str
    secret: str
    around: str
    near: str


PLANTED: tuple[Planted, ...] = (
    Planted("azure_storage_key", LONG[:86] + "==", "AccountName=a;AccountKey=%s;E=x", "AccountKey=;Suffix=a"),
    Planted(
        "azure_sas", ALNUM[:43] + "%3D", "https://a.example/c?sv=1&sig=%s", "https://a.example/c?sig=abc%3D"
    ),
    Planted("azure_client_secret", "abC8Q" + "~" + ALNUM[:34], "id %s x", "a Q~ b"),
    Planted("alibaba_key", "LTAI" + ALNUM[:20], "%s", "LTAI5t"),
    Planted("tencent_key", "AKID" + ALNUM[:32], "%s", "AKID" + "0" * 12),
    Planted("yandex_key", "AQVN" + ALNUM[:36], "%s", "AQVN" + ALNUM[:12]),
    Planted("digitalocean_token", "dop_v1_" + HEX, "%s", "dop_v1_" + HEX[:32]),
    Planted("cloudflare_key", "v1.0-" + HEX[:24] + "-" + (HEX * 3)[:146], "%s", "v1.0-" + HEX[:24] + "-beta"),
    Planted("heroku_key", "HRKU-" + UUID, "%s", "HRKU-1"),
    Planted("fly_token", "fo1_" + ALNUM[:43], "%s", "fo1_name_of_a_thing"),
    Planted("netlify_token", "nfp_" + ALNUM[:36], "%s", "nfp_client_options_for_all_requests"),
    Planted("databricks_token", "dapi" + HEX[:32], "%s", "dapi" + HEX[:20]),
    Planted("supabase_key", "sbp_" + HEX[:40], "%s", "sbp_" + HEX[:20]),
    Planted("planetscale_token", "pscale_tkn_" + ALNUM[:43], "%s", "pscale_tkn_name"),
    Planted("tailscale_key", "tskey-auth-" + ALNUM[:16] + "-" + ALNUM[:32], "%s", "tskey-auth-..."),
    Planted("vault_token", "hvs." + ALNUM[:24], "%s", "hvs.internal_name_of_a_longer_thing"),
    Planted("terraform_token", ".atlasv1." + (ALNUM * 2)[:67], "aB3dE6gH9jK2mN%s", ".atlasv1.readme"),
    Planted("pulumi_token", "pul-" + HEX[:40], "%s", "pul-" + HEX[:12]),
    Planted("doppler_token", "dp.pt." + ALNUM[:43], "%s", "dp.pt.name"),
    Planted("onepassword_token", "ops_eyJ" + LONG[:120], "%s", "ops_eyJhbGci"),
    Planted("atlassian_token", "ATATT3" + (ALNUM * 2)[:80], "%s", "ATATT3xFfGF0"),
    Planted("gitlab_token", "glrt-" + ALNUM[:20], "%s", "glrt-runner"),
    Planted("sourcegraph_token", "sgp_" + HEX[:40], "%s", "sgp_" + HEX[:20]),
    Planted("groq_key", "gsk_" + ALNUM, "%s", "gsk_settings_schema_source_directory"),
    Planted("xai_key", "xai-" + (ALNUM * 2)[:80], "%s", "xai-grok-code-fast-1-and-more"),
    Planted("perplexity_key", "pplx-" + ALNUM[:48], "%s", "pplx-70b-online-and-much-more-text-here"),
    Planted("replicate_token", "r8_" + ALNUM[:37], "%s", "r8_" + ALNUM[:20]),
    Planted("nvidia_key", "nvapi-" + (ALNUM * 2)[:64], "%s", "nvapi-key"),
    Planted("together_key", "tgp_v1_" + ALNUM[:43], "%s", "tgp_v1_name"),
    Planted("cerebras_key", "csk-" + LOWER[:48], "%s", "csk-short"),
    Planted("pinecone_key", "pcsk_" + (ALNUM * 2)[:70], "%s", "pcsk_name"),
    Planted("langsmith_key", "lsv2_pt_" + HEX[:32] + "_" + HEX[:10], "%s", "lsv2_pt_" + HEX[:10]),
    Planted("elevenlabs_key", "sk_" + HEX[:48], "%s", "sk_" + HEX[:20]),
    Planted(
        "discord_token",
        "MT" + ALNUM[:24] + "." + ALNUM[:6] + "." + ALNUM[:38],
        "%s",
        "MTNotes.reading.of_all_that_is_there_in_the_end",
    ),
    Planted(
        "discord_webhook",
        (ALNUM * 2)[:68],
        "https://discord.com/api/webhooks/123456789012345678/%s",
        "/api/webhooks/123456789012345678/messages",
    ),
    Planted("telegram_token", "AA" + ALNUM[:33], "12345678:%s", "12345678:AAname"),
    Planted(
        "teams_webhook",
        f"{UUID}@{UUID}/IncomingWebhook/{HEX[:32]}/{UUID}",
        "https://acme.webhook.office.com/webhookb2/%s",
        "https://acme.webhook.office.com/webhookb2/docs",
    ),
    Planted("square_token", "sq0atp-" + ALNUM[:22], "%s", "sq0idp-" + ALNUM[:22]),
    Planted(
        "braintree_token", LOWER[:16] + "$" + HEX[:32], "access_token$production$%s", "access_token$name"
    ),
    Planted("razorpay_key", "rzp_live_" + ALNUM[:14], "%s", "rzp_live_key"),
    Planted("plaid_token", f"access-sandbox-{UUID}", "%s", "access-sandbox-environments-of-the-team"),
    Planted("shopify_token", "shpat_" + HEX[:32], "%s", "shpat_" + HEX[:12]),
    Planted("flutterwave_key", "FLWSECK-" + LOWER[:32] + "-X", "%s", "FLWSECK-name"),
    Planted("sendgrid_key", "SG." + ALNUM[:22] + "." + ALNUM[:43], "%s", "SG.module.function"),
    Planted("mailgun_key", "key-" + HEX[:32], "%s", "key-" + HEX[:12]),
    Planted("mailchimp_key", HEX[:32] + "-us14", "%s", HEX[:12] + "-us14"),
    Planted("brevo_key", "xkeysib-" + HEX + "-" + ALNUM[:16], "%s", "xkeysib-name"),
    Planted("twilio_key", "SK" + HEX[:32], "%s", "SK" + HEX[:12]),
    Planted("new_relic_key", "NRAK-" + UPPER[:27], "%s", "NRAK-name"),
    Planted("sentry_token", "sntryu_" + HEX, "%s", "sntryu_" + HEX[:12]),
    Planted("grafana_token", "glsa_" + ALNUM[:32] + "_" + HEX[:8], "%s", "glsa_name"),
    Planted("dynatrace_token", "dt0c01." + UPPER[:24] + "." + (UPPER * 2)[:64], "%s", "dt0c01.SHORT"),
    Planted("posthog_key", "phx_" + ALNUM[:43], "%s", "phc_" + ALNUM[:43]),
    Planted("linear_key", "lin_api_" + ALNUM[:40], "%s", "lin_api_client"),
    Planted("notion_token", "ntn_" + ALNUM[:46], "%s", "secret_manager_client_options"),
    Planted("airtable_token", "pat" + ALNUM[:14] + "." + HEX, "%s", "path.to.a.module.that.is_long"),
    Planted("figma_token", "figd_" + ALNUM[:40], "%s", "figd_name"),
    Planted("postman_key", "PMAK-" + HEX[:24] + "-" + HEX[:34], "%s", "PMAK-" + HEX[:24]),
    Planted("dropbox_token", "sl." + LONG[:136], "%s", "sl.name_of_something_in_code"),
    Planted("contentful_token", "CFPAT-" + ALNUM[:43], "%s", "CFPAT-name"),
    Planted("facebook_token", "EAACEdEose0cBA" + ALNUM, "%s", "EAACEdEose0cBA"),
    Planted(
        "age_key",
        "AGE-SECRET-KEY-1" + ("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" * 2)[:58],
        "%s",
        "AGE-SECRET-KEY-1 begins it",
    ),
    Planted("rubygems_key", "rubygems_" + HEX[:48], "%s", "rubygems_" + HEX[:12]),
    Planted("crates_token", "cio" + ALNUM[:32], "%s", "ciorequestshandlerforeverything"),
    Planted("docker_token", "dckr_pat_" + ALNUM[:27], "%s", "dckr_pat_name"),
    Planted("nuget_key", "oy2" + LOWER[:43], "%s", "oy2" + LOWER[:12]),
    Planted("clojars_token", "CLOJARS_" + HEX[:60], "%s", "CLOJARS_" + HEX[:12]),
    Planted("artifactory_token", "AKCp" + (ALNUM * 2)[:69], "%s", "AKCp" + ALNUM[:12]),
    Planted("basic_auth", "hunter2!x", "curl -u me:%s https://a.example", "docker run -u 1000:1000 image"),
    Planted("netrc_password", "hunter2", "machine a.example login me password %s", "login to password reset"),
    Planted("key", MIXED, "signing_key: '%s'", "signing_key: 'name-of-the-key-in-use'"),
    Planted("credential", MIXED, 'credential = "%s"', "credential: the-name-of-a-provider-1"),
    Planted("env_value", "9f-X2_kk81zQ", "SMTP_PASS=%s", "SMTP_PASS=$SMTP_PASS_2"),
)
