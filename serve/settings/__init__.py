"""One frozen tree of settings: `site.Settings` with its sections, and `load`. Nothing else reads the environment. May
import errors alone. Begin with `site`.
"""

from serve.settings.api import (
    GatewaySettings,
    HttpSettings,
    LimitsSettings,
    ProxySettings,
)
from serve.settings.ensembles import (
    IllustratorSettings,
    ImageLimitsSettings,
    PicturesSettings,
    VectorizerSettings,
)
from serve.settings.mind import DirectorSettings, TasteSettings
from serve.settings.observability import LogsSettings, TracingSettings
from serve.settings.releases import (
    NAME,
    ArmSettings,
    BreakerSettings,
    ExperimentSettings,
    FallbackSettings,
    FallbackStep,
    FlagSettings,
    Name,
)
from serve.settings.section import (
    HOME,
    IS_INSTALLED,
    MEBIBYTE,
    PACKAGE_DATA,
    AutoscalingSettings,
    Network,
    Section,
    module_command,
    numba_environment,
    project_path,
)
from serve.settings.security import (
    AccessSettings,
    FetchSettings,
    ModerationRule,
    ModerationSettings,
    Phrase,
    PricesSettings,
    ProvenanceSettings,
    QuotasSettings,
    RatesSettings,
    SecretsSettings,
    Share,
)
from serve.settings.site import (
    CONFIG_VARIABLE,
    PREFIX,
    Settings,
    leaves,
    load,
    plain_environment,
    python_environment,
    to_markdown,
)
from serve.settings.state import (
    BackupSettings,
    CacheSettings,
    DatabaseSettings,
    JobsSettings,
    LorasSettings,
    ObjectsSettings,
    ReferencesSettings,
    WebhookSettings,
    webhook_key,
)
