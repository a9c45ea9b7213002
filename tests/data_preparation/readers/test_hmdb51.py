from tests.data_preparation.preparing import fails, lines, put, run, table, touch


def test_hmdb51(tmp_path, capsys):
    # Names with all that shells and globs trip over, a blank at the end of lines, CRLF.
    odd = '#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi'
    other = 'A(1)_[x];&!+@~_clap_f_cm_np1_ba_med_1.avi'
    wave = 'Some_clip_wave_f_cm_np1_ba_med_0.avi'
    for split, codes in ((1, '120'), (2, '021'), (3, '112')):
        put(
            tmp_path / 'annotations' / 'testTrainMulti_7030_splits',
            {
                f'clap_test_split{split}.txt': f'{odd} {codes[0]} \r\n{other} {codes[1]} \r\n',
                f'wave_test_split{split}.txt': f'{wave} {codes[2]} \n',
            },
        )
    # What macOS leaves beside each file is no class.
    put(tmp_path / 'annotations', {'__MACOSX/._clap_test_split1.txt': b'\0\5\x16'})
    touch(tmp_path / 'videos', f'clap/{odd}', f'clap/{other}', f'wave/{wave}')
    out = run(tmp_path, 'hmdb51')
    assert lines(out / 'classes.txt') == ['clap', 'wave']
    assert lines(out / 'train_split1.txt') == [f'clap/{odd} 0']
    assert lines(out / 'test_split1.txt') == [f'clap/{other} 0']
    assert lines(out / 'train_split2.txt') == [f'wave/{wave} 1']
    assert lines(out / 'test_split2.txt') == [f'clap/{other} 0']
    assert lines(out / 'train_split3.txt') == [f'clap/{odd} 0', f'clap/{other} 0']
    assert lines(out / 'test_split3.txt') == [f'wave/{wave} 1']
    assert table(out / 'summary.txt')['train_split1'] == ['3570', '1', '-3569', '1', '0', '0', '0']
    assert 'split 2: 1 clip neither to train nor to test (0)' in capsys.readouterr().out
    assert not (out / 'dropped.tsv').exists()


def test_hmdb51_malformed(tmp_path, capsys):
    touch(tmp_path / 'videos', 'wave/a.avi')
    files = {f'wave_test_split{split}.txt': 'a.avi 1 \n' for split in (1, 2, 3)}
    put(tmp_path / 'annotations', {**files, 'wave_test_split2.txt': 'a.avi 3\n'})
    assert "split2.txt:1: expected 'clip.avi 0', 1 or 2" in fails(capsys, tmp_path, 'hmdb51')
    put(tmp_path / 'annotations', {'copy/wave_test_split1.txt': 'a.avi 1 \n'})
    assert 'leave one of them' in fails(capsys, tmp_path, 'hmdb51')
    put(tmp_path / 'part', {'wave_test_split1.txt': 'a.avi 1 \n'})
    error = fails(capsys, tmp_path, 'hmdb51', '--annotations', tmp_path / 'part')
    assert 'there is no wave_test_split2.txt' in error
    error = fails(capsys, tmp_path, 'hmdb51', '--annotations', tmp_path / 'videos')
    assert 'unpack test_train_splits.rar there' in error
