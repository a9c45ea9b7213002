"""The one command that measures a GPU, tried with tiny sizes."""

import json
import re

import pytest

from tools.analysis_tools import benchmark_gpu, gpu_parts


def results(**parts):
    machine = dict(device='H100', torch='2.14', cuda='13.0', cudnn=91500, python='3.12', cores=16)
    return dict(machine=machine | dict(small=False), parts=parts)


def test_every_part_has_a_time_limit():
    assert list(benchmark_gpu.LIMITS) == list(gpu_parts.PARTS)


def test_parts_are_measured_and_kept_on_resume(tmp_path, capsys):
    command = ['--out', str(tmp_path), '--small', '--only', 'machine']
    benchmark_gpu.main(command)
    first = json.loads((tmp_path / 'results.json').read_text())
    rows = first['parts']['machine']['rows']
    assert {row['unit'] for row in rows} == {'TFLOP/s', 'GB/s', 'ms'}
    assert all(row['value'] > 0 for row in rows)
    assert 'A trial with tiny sizes' in (tmp_path / 'results.md').read_text()
    benchmark_gpu.main([*command, '--resume'])
    assert json.loads((tmp_path / 'results.json').read_text()) == first
    assert capsys.readouterr().out.count('machine') == 1


def test_part_that_takes_too_long_or_fails_is_reported(tmp_path):
    log = tmp_path / 'log.txt'
    found = benchmark_gpu.measure('machine', 0.5, True, log)
    assert found['error'].startswith('took longer than 0 s')
    assert found['seconds'] < 10
    found = benchmark_gpu.measure('nothing', 60, True, log)
    assert found['error'] == 'status 2; see log.txt'
    assert "argument PART: invalid choice: 'nothing'" in log.read_text()


def test_a_part_alone_says_what_it_takes(monkeypatch, capsys):
    monkeypatch.setattr(gpu_parts.sys, 'argv', ['gpu_parts.py', '--help'])
    with pytest.raises(SystemExit):
        gpu_parts.main()
    said = capsys.readouterr().out
    assert 'PART file' in said
    assert all(part.split()[0] in said for part in gpu_parts.PARTS)


def test_part_that_is_stopped_keeps_its_rows(tmp_path, monkeypatch):
    part = tmp_path / 'part'
    part.write_text('#!/bin/sh\necho \'[{"value": 1}]\' > "$4"\nexec sleep 60\n')
    part.chmod(0o755)
    monkeypatch.setattr(benchmark_gpu.sys, 'executable', str(part))
    found = benchmark_gpu.measure('train', 1, True, tmp_path / 'log.txt')
    assert found['rows'] == [dict(value=1)]
    assert found['error'] == 'took longer than 1 s; see log.txt'
    text = benchmark_gpu.report(results(train=found))
    assert '| 1 |\n\nFailed: took longer than 1 s' in text


def test_rows_are_written_as_they_come(tmp_path, monkeypatch):
    def rows(small):
        yield dict(value=1)
        assert json.loads(file.read_text()) == [dict(value=1)]
        yield dict(value=2)
        raise RuntimeError('out of memory')

    file = tmp_path / 'rows.json'
    monkeypatch.setitem(gpu_parts.PARTS, 'train', rows)
    monkeypatch.setattr(gpu_parts.sys, 'argv', ['gpu_parts.py', 'train', str(file)])
    with pytest.raises(RuntimeError, match='out of memory'):
        gpu_parts.main()
    assert json.loads(file.read_text()) == [dict(value=1), dict(value=2)]


def test_what_is_measured_again_and_what_is_kept(tmp_path, monkeypatch, capsys):
    measured = []

    def measure(name, limit, small, log):
        measured.append(name)
        return dict(seconds=1, rows=[dict(run=len(measured))])

    def parts():
        return json.loads((tmp_path / 'results.json').read_text())['parts']

    monkeypatch.setattr(benchmark_gpu, 'measure', measure)
    command = ['--out', str(tmp_path), '--small']
    benchmark_gpu.main(command)
    assert measured == list(benchmark_gpu.LIMITS) == list(parts())
    measured.clear()
    benchmark_gpu.main([*command, '--only', 'train'])
    assert measured == ['train']
    assert list(parts()) == list(benchmark_gpu.LIMITS)
    assert parts()['train']['rows'] == [dict(run=1)]
    # A part that was stopped is measured again, although it has rows.
    found = json.loads((tmp_path / 'results.json').read_text())
    found['parts']['infer']['error'] = 'took longer than 90 s'
    (tmp_path / 'results.json').write_text(json.dumps(found))
    benchmark_gpu.main([*command, '--resume'])
    assert measured == ['train', 'infer']
    assert 'error' not in parts()['infer']
    found['machine']['device'] = 'another GPU'
    (tmp_path / 'results.json').write_text(json.dumps(found))
    with pytest.raises(SystemExit):
        benchmark_gpu.main([*command, '--resume'])
    assert 'was measured with device another GPU, now it is' in capsys.readouterr().err
    assert measured == ['train', 'infer']


def test_tables_go_into_the_page(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('# P\n<!-- gpu: begin -->\nold\n<!-- gpu: end -->\nrest\n')
    benchmark_gpu.into_docs(page, None)
    assert page.read_text() == '# P\n<!-- gpu: begin -->\nNot yet run.\n<!-- gpu: end -->\nrest\n'
    found = results(train=dict(rows=[{'a|b': 1.23456, 'c': True}]), peers=dict(error='status 1'))
    benchmark_gpu.into_docs(page, found)
    text = page.read_text()
    assert 'H100, PyTorch 2.14, CUDA 13.0' in text
    assert '| 1.235 | True |' in text
    assert 'Failed: status 1' in text
    assert text.endswith('<!-- gpu: end -->\nrest\n')
    found['machine']['small'] = True
    with pytest.raises(ValueError, match='of a trial'):
        benchmark_gpu.into_docs(page, found)
    page.write_text('# P\n')
    with pytest.raises(ValueError, match='needs the lines'):
        benchmark_gpu.into_docs(page, None)


def test_documentation_has_tables_of_a_gpu_or_says_that_there_are_none(tmp_path):
    text = (benchmark_gpu.ROOT / 'docs' / 'performance.md').read_text('utf-8')
    section = text.partition(benchmark_gpu.BEGIN)[2].partition(benchmark_gpu.END)[0].strip()
    if section != benchmark_gpu.NOT_RUN:
        assert ', CUDA ' in section.splitlines()[0]
        assert 'A trial' not in section
    page = tmp_path / 'page.md'
    page.write_text(text)
    benchmark_gpu.main(['--out', str(tmp_path / 'not there'), '--docs', str(page)])
    again = page.read_text()
    assert again.partition(benchmark_gpu.BEGIN)[0] == text.partition(benchmark_gpu.BEGIN)[0]
    assert f'{benchmark_gpu.BEGIN}\n{benchmark_gpu.NOT_RUN}\n{benchmark_gpu.END}' in again


def test_batches_of_the_memory_part_are_those_of_the_documentation():
    text = (benchmark_gpu.ROOT / 'docs' / 'performance.md').read_text('utf-8')
    lines = text.partition('| bf16, 32x224x224 |')[2].partition('\n\n')[0].splitlines()
    table, size = {}, ''
    for cells in ([cell.strip() for cell in line.split('|')[1:-1]] for line in lines[2:]):
        size = cells[0].lower() or size
        how = {'False': False, 'True': True}.get(cells[1], cells[1])
        table[size, how] = tuple(int(cell) for cell in cells[-4:])
    assert table == gpu_parts.BATCHES
    assert re.findall(r'\d+', lines[0].partition('largest batch')[2]) == [
        str(budget) for budget in gpu_parts.BUDGETS
    ]


def test_memory_part_measures_a_step():
    (row,) = gpu_parts.memory(small=True)
    assert row['batch'] == 1
    assert 0.01 < row['peak GB'] < 10
    assert row['fits']
