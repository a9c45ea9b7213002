from mmaction import version


def test_versions_compare_part_by_part():
    assert version.parse_version_info('1.3.0') == (1, 3, 0)
    assert version.parse_version_info('1.10.0rc2') == (1, 10, 0, 'rc2')
    assert version.parse_version_info('1.10.0') > version.parse_version_info('1.9.3')
    assert version.version_info == version.parse_version_info(version.__version__)
