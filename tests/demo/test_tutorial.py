"""demo/tutorial.ipynb, run cell by cell as a user does."""

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / 'demo' / 'tutorial.ipynb'


@pytest.mark.slow
def test_notebook_trains_tests_and_explains(tmp_path, monkeypatch):
    nbformat = pytest.importorskip('nbformat')
    nbclient = pytest.importorskip('nbclient')
    pytest.importorskip('ipykernel')
    monkeypatch.setenv('PYTHONPATH', str(NOTEBOOK.parents[1]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = dict(metadata=dict(path=tmp_path))
    nbclient.NotebookClient(notebook, timeout=280, resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get('outputs', ())]
    (metrics,) = (o['data']['text/plain'] for o in outputs if 'acc/top1' in str(o.get('data')))
    assert json.loads(metrics.replace("'", '"'))['acc/top1'] >= 0.9
    assert any('image/png' in output.get('data', ()) for output in outputs)


def test_notebook_has_no_stale_names():
    """What the cells import and configure is there; the slow test runs them."""
    import ast
    from importlib import import_module

    cells = json.loads(NOTEBOOK.read_text(encoding='utf-8'))['cells']
    code = '\n'.join(''.join(cell['source']) for cell in cells if cell['cell_type'] == 'code')
    imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    assert len(imports) > 5
    for node in imports:
        module = import_module(node.module)
        assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
