"""Suite ruler: tasks of RULER (Hsieh et al. 2024, arXiv 2404.06654) as text, answered by greedy decoding.

    task                 context                                   answer                         in RULER
    single_1             the same few sentences, and a needle      its value, a number            niah_single_1
    single_2             held-out text and a needle                its value, a number            niah_single_2
    single_3             held-out text and a needle                its value, a UUID              niah_single_3
    multikey_1           held-out text and four needles            the value of the given key     niah_multikey_1
    multikey_2           needles only, numbers by words            the value of the given key     niah_multikey_2
    multikey_3           needles only, UUIDs by UUIDs              the value of the given key     niah_multikey_3
    multivalue           held-out text, four values of one key     all of them                    niah_multivalue
    multiquery           held-out text and four needles            the values of all four keys    niah_multiquery
    variable_tracking    assignments among the same sentences      all variables with a value     vt
    common_words         words, of which ten are common            these words                    cwe
    frequent_words       words by a Zeta distribution              the three most frequent words  fwe

Templates, sizes and the score are those of https://github.com/NVIDIA/RULER: the share of the answers that occur in the
output, in upper or lower case. RULER's other two tasks need question-answering data. Differences: held-out text of the
run is used in place of essays, words come from a list of this project, there are no worked examples before
variable_tracking and common_words, and an output has twice the tokens of the answer and a few more, since a token may
be a byte.
"""
