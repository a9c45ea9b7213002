from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

ROOT = Path(__file__).parents[2]


def migrate(*arguments):
    spec = spec_from_file_location('migrate_config', ROOT / 'tools' / 'misc' / 'migrate_config.py')
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main([str(argument) for argument in arguments])
