"""Character classes as GPT-2's pattern sees them: letter `\\p{L}`, number `\\p{N}`, white space `\\s`, or other.

The classes are those of Unicode 16.0, which tiktoken and `tokenizers` use too. They are embedded because Python's
`unicodedata` changes with the Python version (14.0 in Python 3.11) and would change token ids with it.
"""

import base64
import zlib

import numpy as np

OTHER, LETTER, NUMBER, SPACE = range(4)
# No letter, number or white space at or above this code point.
FIRST_UNCLASSED = 0x32400

# Runs of code points of one class, from U+0000 to U+10FFFF: each is length * 4 + class as a little-endian base-128
# number; then zlib and base85.
_RUNS = (
    "c-mD}Z)jWB73bV{j&z^$p7);fp8KA8GEyc7=_0psk%J0Kkc$E`#3eQER*z^T5SJL5VMAP^Vi#$P!GQ!KaHu?NSRsZ5DzG8$nlW$ohrl|Pl6)"
    "}O(0s_KM+0j=jD0ce!_Je_LAcU=dPnD;zrXXlsn;seq6((GsdV&8G(|xS$%qhkVHM}`ewQ^^a05cRfiCLOM)C+vBzzYi3v6RznQ$2-d26sDu"
    "3Gj3Xv4U&biA!074<+@rlb;K?b?CJQb8?1O1H?FuqZ_aU6>38oJ;7J@56Vn4+d2z$XE)8t)$fD1jacQ+u-wg9ZgH=vR6{Vw~qeO!!^ed1xlK"
    "wevax$>V{^Dx}{Q-{n1QEdc9)=sW(gL8z$O@&WY%TZkWd4`!s&4l4K)Q95(0*M=jYzq7TVBl4e2^bL^5$=;hGe8ic7iCia=uJLo$j#wF}WlJ"
    "PlJ-T~Be@swJD(1(kcc+a4oBIzQfl(g$Wb7Q$AHsM3}?^+wqlk$9vlQs0fw1#qo%3B5`hh!UYGlsV0YVf`Wye+{0-%sN~_;Onm#*E?8zL37L"
    "aa^8_PC0F1bR~n4{AgjMFob6DDcl0G$WWeoUwH>2aOKU=!?H-vuYjsaH@gAWl=u1)R8za~Ij~}${v)=aoHW!usO5FF0auzZtqfB&K@K==kmf"
    "zG(dROf(}>i?zLdUXMEEkv;e~5n?n0-NCdLh0`qq#W{(9ruF(>*bh?XKGdmYYxXi4MfWQH|e@93zF1JZU}i|}jEd-i(%4PT01>>dAj{ik=M9"
    "=9(QkuPiX90Dp;Q*nG{Z427&iduT)@<~p%OSkrgXW|QiHb;(!!st#nU>k<(pst_5GyGVAGxb>GYp9FO2Xsq31i2}VVWpqng3`QP7Oc=OS2Zr"
    "T3>%vqA7&ufSk3pQpF-g)F3m;XU{Il&Nmnn=23s)AskxX@F5~5biAhU&Rqpav9JirMS8|>gO*s&lIiHK>cT(Ws-tr!6dF3^qiCoos1a}t2!("
    ";Nk)`ED>bwVr+F{-FD1RL57XdkOIgxrVU!Qd0k#Z^4lnd$6-Fgj+Xc?$+{3P)N0w0vt3zSnYJK<=MVjy;La8jqm#E2{zBsdppEh_ejonrs3C"
    "zvuUGh?2tqi$9-1;wj_?@N{RQUOo*LJ=0SY>EuNp?*sNP37?bNfDjV0Do<2p-+bcaHn3}_XQJ1dYKiAy#q_u3AAyQC*Kam`^1^HkXS?c<#2K"
    "%rv=8YCd1BN#F>;}ATdaw1;4$PML(toV9D{NuRsAmV2|M%jlKC%~Rg{>>c7HhXCA`;nzM9*GD<3mgQGOHZFd3*+6N-wFMTy%?F}WQm*jdG8x"
    "5ly~IC)P0FLWk})5&nZ%Ia0ts8G(m&Y+Yb(IH*tgX^#h728pcd3^`YGY%4}MO(mwa0ggGS=C}1%rh~0W7Aj1-?ZZ2(gr-y8seQ?l8GhBmM<0"
    "AP(igsQmz6MBu!KLGY0WEWgo&hs;r5X$O6ah_2XSAQ}H9GwylLBEyFkyh{qF$4JfdWJ$;mI4dG1&-=3i2&pwA2K}-9yR&GYt#}>5WPO|J@{("
    "jC`?f!NbY8BNwbzlec%r9Glw_0TfN_I|RAHL^|ZkwB6s8*yQetA!83x^iPP+f3})6f3`iT#uJAhYtRusg-MtrzJU6J^0pY#4VcZOs`n`h(2g"
    "uR*n5AIpucYaguOuE13hc0-1@#~>Fvjte}1T!c8zaMc;bMjW5U<Rnh=jq~a^DgOrb!o24%$wT-nZbCXPxs^9!wF*;}+UuI(EmD)DmVOdvV+?"
    "M*8<C8*rU=MV-*`U&UuE6v;tRktixC^IvQF5`3~N((n^{LxW4@ICxWczEO}nF)!Lv+SE}p&9ed^ZFRV&f>L#z%j8sHs9<jn_Ac=Q5_505X79"
    "$JfUw0{du<2SJVk7w{dnCD<!"
)


def code_point_classes() -> np.ndarray:
    """The class of every code point.

    Returns:
        uint8 array of shape `[FIRST_UNCLASSED + 1]`: OTHER, LETTER, NUMBER or SPACE. The last entry stands for all code
        points from there on.

    Example:
        >>> bool(code_point_classes()[ord("A")] == LETTER)
        True
    """
    classes, lengths = [], []
    value = shift = 0
    for byte in zlib.decompress(base64.b85decode(_RUNS)):
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # the last byte of a number
            classes.append(value & 3)
            lengths.append(value >> 2)
            value = shift = 0
    return np.repeat(np.array(classes, np.uint8), lengths)[: FIRST_UNCLASSED + 1]
