"""What BERT's text cleaning makes of each character: the tables of `tokenizers`, which Transformers runs on.

`tokenizers` cleans (BertNormalizer) and splits (BertPreTokenizer) character by character, so a table says it all: the
character is dropped, parts words, is a word of its own (punctuation, ideographs), or belongs to a word, perhaps as
another character (lower case, without its accent). Its Unicode tables are of several versions, and neither Python's nor
ICU's: hence they are embedded.
"""

import base64
import unicodedata
import zlib

import numpy as np

# EXPANDED: part of a word, as several characters.
WORD, ISOLATED, SPACE, DROPPED, EXPANDED = range(5)
CODE_POINTS = 0x110000
PAGE = 256

# Runs of code points of one kind: all lengths, then all values (a zigzag number: the replacement less the code point)
# * 5 + kind, as little-endian base-128 numbers; then zlib and base85.
_LOWERCASE_RUNS = (
    "c-rlFSx{R^w&2Zsj|9k|^=h@DC|pH!Prr()>3*;4y^fyux_f>mqGqNmCZc0vmM}&jBw=v8h>4iLi4YjfVhotgfY~er2oRXffB|E%o5cnsAp`~?R<"
    "j#0i_JRsO2&ola`n_qbx%yh+*Ia0dGh4RJSWeRR~|Ty_=v-DlQCuRDMAcHAcWj;!ufvh!O;&s_(y5}*N}gP{TUMc2L|!)x@XCVAD|_W8~RH;9~X%"
    "EedE>WpWi@k^g*0?cyBi-eJc&|5!Q@1=RmmVfPQ%(5%oKR`14z5;6J?v@Sj}4{si;qIP;6s)BXj1j!94uevZbtmitV|0v!F3g1EG0BPN9hKARr$I"
    "saeI{l<eJE&!z=0x@uojG7&VeElhX<IW=hcR++2K{Lm3oJH~Y4FX`|i0#C9<6k)m0S6o>C_AFJ!J~A44*v%P)KLH;aZl$giXI4hQ|{D4fcsE~`U~"
    "VipkJbYMKGvial_By-Yz=V5#l7(|0kfvNIV3&xsIF=qTeFi&C?yR@IN7(i71JG&7tu4d8f40njX{<)5R0Hv1wL}bLcY<<iP;^8^i?4^e92jG2L+>"
    "xZp)~n219ul3w)-G!2Bu*WWT(XccfClHvcJ_>AzTc;i0!?{MViPAx}81|0dFgKUKUI{~-{ViNB7FfAC4{~Ear6?bQ{aOCSoDVzNVz|T10r!LE;&q"
    "n0N^6<ocDa9e;?_CB<u;6dpDMd2=k>>jgoN#w1kQZ{JcTM2k=-1T#UDl0%U{m<_;XVvZA4U-TW5ES~561tJru-v43ja$`|5U=^KaS@+L-;v{1ZN<"
    "UI(ARWR9Id(8~?o*<%FJpN83LWeZdvbp^T4wDC)mOv_Xg|NcJY)(@~D)G6%}Eovj}=@D<eo8F=G22w5hB{YU&0Rw^O-C-BAX2o>UAef2#%q0-=A;"
    "XvJ8jzL@YKO;7}?E57WJfxfqShy!0xjYg32ld8$7b&7*5gq!^{kTaut;Yza@mIgo=+LnTeiJ9Y`jKZ&IQ9PVhrqwZng8Nl)c=v@-dhgdNJsoc2P2"
    "_WPp3;M{_o)5A`hI)XHu+x?v9Jkc_Cj)JyaA&;Kik^^<O&;&67Gy4qQOLqGfd^&<nUHg$J~LdK=;E{^Nhu`~m&{=RJ$WKR^*bL9qHO25Eoq?+nt-"
    "mEzvqAkYf}HzF>J$-PK>GG(QBs>|aM<>CY`qa=0aZnsog=t!K{M`#A2bj0`!eTBaKSuFbO4(-nz`cl%yKs^Y3g4!rroB=;00C7G1kplN{`-9tmf?"
    "4#dTqL@~K)>d={YyeZab;84lTMBBkHlvT<bDpmL^uooTMs6K&a8;|BSEJ&<`qPRS9c-)8`_O=sT;v)#hGvK(KuS6Zas907X$t$IxOOZk{+T+6a;1"
    "93@$N^`&Nk=uWuk+L&^OcH-<YpVEFz{YDEyAO)-I{pS$6N2N!qq0WW3*BAPj0!!O;b4dM(A191v2xc%JE{)OWS?pxre!IOV6^dJ6e3G4s9{rrWN#"
    "Q&f0{vSVS`o`ZNpUWDwfszl2;}Zg>tE(Uk8R^CeQH5}}sM@XBt;=oDZOm=f&4|xB-)nArZ{J4z6pC=iXaW~V6Jwhm2OiO^BvuxykcAaGUlpu|w{P"
    "qeXro7607clqs`hO5?D8D+9P^xY)-}&P&j_y@Ug=)>UZq|v?4ehW*Ra<!uX(Q*Ua!5bv2U_(JL_F`Ir~2Q5xbXdW>2zN*e3gc9nDGNWN`{P6`Tf6"
    "8wX=yQ=BEvOAdC#iQ(Sj-r*K;?{Qfa`U!WGJI!6;?r=}IR5zDb!mH*r^SXG0JQg;{8{^IL)_8lo2>uOzIzOLZ%CF@=<oEE0`Oo<Cd=~bae@$>xa9"
    "eO!P%gMHcqHf*m<5x9=Wpw#;6M;fCXrcWA&J#FS4^PVNUCNq=Q!&e8qVNit=uvS)yg$-u?g<H_=T9JjN;MN2|SYYO7@-86M1w?p8jetJiM@XKH|d"
    "Q`LXjQ=c~^*pYJ+P!?Wkt&eM2o()+phruTt2y)Q~N6hvcsz0J<|qNm-n!H42=<P-Brms>eZ`7HVDd~)*1sBl`?K(>+9zRkW}zJtE+zjJ*{oN&n-%"
    "qf1&ch5KCQx<mH@2+1Gy;Bxeak1fI*2Th$y?$oDNx$cQn|=p=(HE00-uHXthgJ47S=g9oazB%z%;MBAx*4unbRp=bmrXU<zmN66a{r-{$oczrVt}"
    "v`*fD_>LnmYtl))MC3>1a`^4tF$Y(iKO`ucx-^ToFqgM+a?Qp`X#zh_}dtQ3fa0;Yo~U}i82m;*#5kwW#2cs)+BWngi5DvmYN&>+5s$KfC0$KagV"
    "^G8?x;gW%tST9*;F{jSJ!ss`>ipw2X80`+VUJsqFLE~x1aba8zLcd+^^1rtihbsuse`-0)+pyq*fBCaToLs~)7oJi%17pyTt9%EYh0&YJaF(|eS&"
    "U8Sh1bM03Px|qfxvnJd*<peF!BsXdII*Ez}_$4t;C?GI~h1xx!8SBs9h5Y2>a&k*cl><!zn-XjtFmI^hOT4q`NR@sTkj@47wN_;BBSVi4{zUzje;"
    "RPx-$y<xNEXP*U`P{OFCm-xaF=HSrB4Sq%Ds{wya%9r?jBqANNhiL+D>LGuuF4Z+|Lj19r;5UdTs-Vj6#!;N7`ABOy4C>@5{VR$$UJ;N|O49|vPe"
    "i&X1!|P$VW`dh0xNU;FCMY+-eG@z~L9YqSCYUtAa}#Wu;J^gYW=JwamKh4oP+^9K)3(hF{bm?3!;~48%<$3-M`nnzz%2{hu|Sap?pff01v)J7!~&"
    "xhn6|)*1$HcOVu833NF9OP5hxjf>Jexjfvyo49D%VBm>q$&5!f4n2<w~nh85DSkZ*-jE7V%yp%r?pFl>cqR+zWK3oE>~!nIMjISRK&;qEAukHY;?"
    "cr*&VqhKC|$x(Pd3Y(*FFbdH&NU}ke4GL{gVS@%6wArBF1|v3@vcZxKUfSTu1~FrBYYgs;LD3l88-oX9&@l#2#$a>|rpI7q40gugWDMfQq30QljY"
    "HQsG>-$8+6@?`Gi-AL4kjRa5|Sn%YZ3}4p<)smCZTN-`X^yz5~e0$X%b#e!qFte*x{BP?%1Ko4)^Tvzz!XDcw&dqcj0L}tk_}44kvbqn}XCS$en_"
    "cDX5-;<|*i!g28v;4@bwQV0H@DreJRhA{=nT0qG9NcR;BFY8~*<0X+^FcEB?S%sb$P1717e+VuBeZcfAPX}CKL<<oF~8XiqU?=+a-g(s)s`7~@!!"
    "@)GT!qzP<+|fdj7Vc@`ffhQn@I(uvTA0?tiWYXXaH55{LP#xy+(IZRd<U*BgyurP#tLD!5Y`G|uMi@1a6<=Jx(@PnP^yDk9X!-Qj}C@)@Jt8uI(V"
    "Uj*E+aX1UHM|b`jhyg7VY$ei1w>g5Dx97r|r^JTHRHA~-05=we7JhOA;JEQX3=Xej<33^q~>Q^l}U3@?k}s2E~O06W{cRRVWPpr{1yQ3D-R9i{3D"
    "RZmJ_x&$a_rvxZCP7kSi$kjuM9;)@wtcNZ=4C-M_53_n$)5D$~Hp}3k3?|Fq`Md4?GI&%5H_PC58N4oqYh{4lGQb@J6dB;20Uj8j!vIeVFlvBl1F"
    "RTe#{ee=h^v6q3dpU1l8W!aR98TA1$0%wU<Hg-z-$GqRlr^aL{!3!%8&B-*sRTaaBvTzt01WgvZ?^9sDg$nXsd$$Dj2DPsVZ1<VX>Vx8hlv=M^xu"
    "lHQcF&2i4GV+CHg<7<3EWLDSW+QVl!Ra8eCeZVi;wKy?i?*FaYd4AubFhtoHMxEe^U0oU+Y4a}YnyWq7N*sFokTBz8BhD}J>qb#Tv@@r`n_OKRuY"
    "T<qzJgS5FT6j?luWMn1%4j(CdHUuCj=!60a{DP~Ph?CbF|bS=E1+X_z@M-ag!%l|=S&v*f~p*<j+fEBW_+WZu~5$VZxoJ$eeG-mzPO0Zx)m|8ays"
    "=iMBrGIE9aaRXWnOFcYBz7rFcX)^UY--wU0U3!>sOOmh`z$n*&T1_SY%Y1rU9g7pWw9_8W!q!-ezCFNWz%>_2|iH^@2dR7F2(_f+CWe};lUKe^Hh"
    "9}CZRZ#<WNoODTgYgxLqB#mB@QZROJUYh@0`ea^e{5S8DJ|nW0q~!xn))A}H_lKj8q%L{hx$U{`jPG3p(MK+BXD6P*)FsAn%spNd83wq0+uZ$rVU"
    "tbPy&x?+^r}1bGVDw0lexNXsqR2B^F+K}M>>xA#jkiX<2+3}PglmRst_4p2<<vy{URBEmv74AX1rkUnq`rj(%mdkc7kwYpO>7&E;dNCjY3-_|FDU"
    "d_DCFS;tyDO`Xou!lIU<*XgVPECEUn1nKoTkd@QZY6zlUvLy5xe3UYssZ#v;=Uh@W~xs7^`!^}P`V4H4|_I*K~UXWP9?>ppNzs)Wy;El&fw-O|CZ"
    "G!d}{JA)xJ&tVL=T=p6He#h2?UMQ`(f*upYe3jiBiPLqG`4UKBV+?F_=a?uHA80H5bTx+A`Sex2OLd0Z@XQrsTI}a^VaP$!xKsDzF4zEZagKokE9"
    "u~<SV1h9x2hx%F+&n3yI=^`+|f`X>7W*u8LeQ=2w>RGE+p?JGcdrqQo|FN(cXGow#_Iw2sPB?#d>zWc6lIXS3jVfL~U`qtxYylr1hwV<V)tRLNqz"
    "xUp3jA4BdAaPrpK3)$?x47Mp=R=Fp7nk6dh=W6mKTT|kkQL(mAY#I_eiiFE^<nn=FNH0j(<8KUc%X0bJhuq?0P9-JO4O#cJbf!wEALePxdApgC#}"
    "Sf@X0i6RC}BXbaX{)uWfS+M*=ET?r6lJ>+_y(oE|E{;1O<nDdpg%r&nc_oq!n-q`eg$eGP{6#*vwho5Jx#=-PN*Ki)8VMWIaV}ZxU_f3Aeh)#(aM"
    "J1FklKZP$obdpL{9vg0+8ZBAs}7n-Jo*)PecF>?G4xz#Gz$l=VD$mVR~_zq4+o6OQGsaqGej&P4}N}jHWvu8z}$E2;D6O}DX*_IlgNRDran_h~HH"
    "qqiWk$#8F9wJ+l1*;>xb_*|0%N=Op)J4lSri3}$QoU9<vrJ|t@nhRL@k8uREj#apsNkhAcA8)JLa@3hh#U|YlZ8Xg!Z{t!?vM@i@GI}g>hopsg%Z"
    "=CxV1;HH7$vZ6jeovw@0~_8J?w&v(?Kp6iBx3$&N>)C{rs%`dBg2>ST5C!s9kF?H1XWNG2wd+wo*$1E;26(48bevA6iB;2saPc5^ctxTr6aW4g`J"
    "rE%&XuydNYhAvLBN#=MUTd$TCq{(tpWOH${-DlDTvovQwT3;fq%9qYqB$SFXA|$pA@xq!oc0s(M6}Q|LZ^VhWW<;?XQQb@7x?QNL7E&@N9FRsW8J"
    "kY((#Xa%ax0ZIrjk*qWMvZB89{a)3T(52@diOky<oLkkdQ5~B??T7{JBZ~`Xqm#k)JcpTOQ<f*Yc<>7bo%ZZtx~XxTbz?WjCjwieoD0WX4F+%YOB"
    "AfsY(JGE1e*Q779Umzf%5iM29Qmdu_mi=URxEl4SIqr@00lR65e#!PA1ZK*y|y1ONrD3uhHO5*b*t4<rNe<eOV68F6n7wn05SH!CeVr!3h!zi}5h"
    ">d!2UW&LcT5O0GFKWbTm7=s#ku6?iUlzu$3Jvo@`>^nFgD|t1%+L!b@`Rb`!ifViZG%i$CELfz#&I(33Ax=*M)i?39b`c#SyM#zod{Z&1^dqgoqY"
    "mJt6*OzXiXP%oB5SJe2a#kILTWW<qcVR#z(y5X5K_Audj)>)x;}q;WgItGOKv?DLlslxA-Zytbv<S%yo=#=ALjiIysM<ILi&3!+K6}EvIjvy^+rz"
    "y!mC^%`Z#0ze?Qj?#u9wPxFo&`Ma)?ug3;|`?Q3;e3y-|!cu?YVTnH$UFx4y>Yr8WPa#Um{j1CUo6G&N@2R&d{Cg|>Ul{!J4gPOJ{de~X;=8+r5k"
    "HGQ8{!d`Owd1coxtAy(0f_pEH@1UGvcS;$#ly8+V%N;CTqM|gE+(HU4C#1alrN6kKX(NaOMO5{ZC~h{x+K-S2q!V^WhI4GCm`t<@A=7-4SZ-2)*7"
    "B+TH6vX9%4s4qYw^tt<$Qy&XD{7CN37YDo@#+<CQW?(^$0p?%jw>!L$7QK6X!pKCg<wnm2zM20T!eSR1b8Wj<G{2=tPCiK;b+J4AMI8ev$s}GG=*"
    "LT$MJL-u|b={^q<>6KRiaKvaoxP-f{9HY^pzfSkk58-9rq!JewZ*R9pHy#5(ruJoJ&^f%<sC(xO}%PWKh=C5YgJoE)QJ|g{;|4pNS!&To*AIw<u>"
    ")kBlSd+y8D6pdV@N-LH+o?I<HP`t5pxws1q~QjTP$5Otrm49bcrj9;wG)s&w({nizF^wAzuRo{Ln!id5IVRwZ^_OxRY<y;Rw@RN0#<%ZAFnqB3YN"
    "YI84UPOAncRrU$h@r>$lR8^mQwJzsscfYExN7dS+nw#@0c&M^9s|K1>_6MrnKEM4&RcoWFdso?1uS!h4I#aE3RH^FARIQb&nN+{}0=mt~Rdwd7bU"
    "CV)G*##ItL-VOyd;(Nrb-{LdKG!Kap2R~h^z6@s@*8nOq5D@O=U0isyb1&lz-Y?{%KW*eB)5Lf2d4346oVoS?m^TUnxy{O2dA5^0qQ(L)rd9`D#^"
    "JGoy^$4sYBIPnlNc%=zjkm3p%>-mKJ^m3e06#Go?osnXc5v<@h@`jy3xm5bfVzHa4Er*gGJIn%1tH7bYhD<cicx?8@M3gu#rvZ+j2uUGCCD34D*$"
    ";(mp6)IPYl%2ETn%m08bY()SG9^P9KNVgdt<1ZoJgodAVLzmEE=0E#l4uHFTn!m8hqqe850gU|lS3(d{c1?YtbDOB?D}lT;!H^WOo)9l#A*-GEci"
    "Sf3|}7(iGLQ7(jSu76OuXRW9trS91N*y332p>ziJF=tPVLW56R9Au~zt0Wrf&`;jw8U)@Yx+<dC_R@au^oPvb-SVnYfX-mR5>Tch4}M~baFZ~L}l"
    ";-zBdK#{SoNM2Dm78KW46q-fF_JZPYUXf7g-L$IMwJG8)iWx)r;eev@iNccL{d7{%ZB%STcxNA9*nXhUR4X!T6~<b{VNv+;Jw?1hF=SA*>J^zu{x"
    "dlWWA}yR3`JDM1;Y(RUA&?yRuO-EelALpb4{_ZaK35e{Nv4F{YLQOt?<V6;HX>SiMPTdXM&p?!CUs=y2;=KTkvXJc+PO}*0uA7!Qk~n*+74=#`bB"
    "!qhO6urfZee*UFM#hiPAhZC3=x7Rz#qWd((@;=8iQ^5BH>;Kh>QoSm>OZE)pwSmt`z#B=FkYH)T^ur5CM@nTrrBdPr)$XGAUsg<@L1l4T^Wz2@{t"
    "_9_+1#PbewH!$@7bMyR$$}$DZw|{eNz#UbG($o5p|JHfNoR9Vdr#QmgP_Kypn}Gr^=OH;DyYsF7Fin9stYR153;v}Iflh`gW~w6u(VFGB_^o8MLZ"
    "rIv~?s;Jd$_kh<7u@dAo93f;eSI-o5WrR~?qKAwOJ_*H?tK&&!J!RW0+Pra4jOp3mc5ABR;wV3nJ?FOL_8E%wVR2jo%x@|w8Np<a1+uYC2fe4<Mp"
    "pD)_)l3Uv3+7|iadU<`Dyyd=JTO%JRl^;Kp&(z6nb@KLF`QrqUaa&ld5m~arw0ZK(JbC9GdG`)EkS@P&5*BBK#b$(U^$2UKh3)BK<JaV?k@DC``E"
    "i6i_9$@TB(Q8JaP?JS@>*c$%fPDjK*MTaLSk6WeBj|sp!G)B__M(7XMy?-(qszEFa<Wngry7xrp#Z>%OGFHkSRx3+7GXo?gfsQ2Dax0+HVGy^$0R"
    "z0z0Dv`;ITS>|M@C7d)N&JZ1B8&DQ0*^~+o4&m9w&BS$V%SD`5CKGt-3qvmo`)n)B2Z~5M3Q`Y6;o0lJ_UEbIYnAr~4&)|)Z255S&)LR0KuesaCD"
    "-(|blJBdk8Uq$8xOur;NBx!T`YW2UfQ4O-qxwqZDrdhqAgUx_Mi;O=!fD9}$kAVkzZIa53D89cSTzC0oGZJFY{SZ>W%H$!u1j07SGuoXNqBfE`L)"
    "+>^p)dnuS$nkw$)2hc<JysRG)WAlXs~z_tJ9CrOKR3-C39NQoPQlr~e7aac}q"
)
_CASED_RUNS = (
    "c-oavO-Phc6rFSKeee4j=O+u3Pjb{Sk^~LGO;F}Wm_<U1&{mZYL_|W{kdMlhMZyFvGLdKz<)%eT#a*jNT7|2Ez)i~*jfT^mQYdTs;qZ9(-goag_q"
    ">QiGYWB#_(VGa2LTXL>|S;V@kV?P2dqXzFSA}O$kp?*UbOeFJg^QKER--!#;6fDJ<cNL6BK}M9YNVCuli@e2aWCnAC-HM@RW@3p{YoBR`7y+3#JI"
    "*7ZE&w9&^Vz6lSsLv#ym6`;bGEZ5QX5XI1q8m%{ugOL0Y7PG|==or06Ni$3gKGE$A%RJ4f;w#qHPGBA`r##Y2TlnKPR=D$$S@UVG3%08UW6?t8!S"
    "Y#ErH<k{kx~yD9+;R|RPt9z_91A>*SD4sbn-vgL>fd#PGUw2bdBM8FOQ3{VMu#vN3<u--GzzW|I;H&_bz(LkWBxMc6dTxoNj^iKC$2gJP6H=hh_y"
    "$i__`;&-RwS<-@RhTLRZS!Bdezu^!-dP+Rvpm*{TWa=R1)3hMhn%Xn^e(`5|rGyc_%-)$Sg_&OVgCaub>VhcqztOZAWH@=szvlgKu{0;{M@_y"
)


def character_table(lowercase: bool) -> tuple[np.ndarray, np.ndarray, dict[int, list[int]]]:
    """What becomes of every code point.

    Args:
        lowercase: bool, whether text is lower-cased and loses its accents.

    Returns:
        kinds: uint8 `[CODE_POINTS]`: WORD, ISOLATED, SPACE, DROPPED or EXPANDED.
        replacements: int32 `[CODE_POINTS]`: the character that a WORD or ISOLATED one becomes.
        expansions: dict, EXPANDED code point -> its two or three characters.

    Example:
        >>> kinds, replacements, expansions = character_table(lowercase=True)
        >>> chr(replacements[ord("É")]), bool(kinds[ord("!")] == ISOLATED)
        ('e', True)

    Reference: huggingface/tokenizers, `normalizers/bert.rs` and `pre_tokenizers/bert.rs`.
    """
    numbers, value, shift = [], 0, 0
    for byte in zlib.decompress(base64.b85decode(_LOWERCASE_RUNS if lowercase else _CASED_RUNS)):
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # the last byte of a number
            numbers.append(value)
            value = shift = 0
    lengths, values = np.split(np.array(numbers, np.int64), 2)
    zigzag, kinds = np.divmod(values, 5)
    shifts = np.where(zigzag % 2, -(zigzag + 1) // 2, zigzag // 2)
    kinds = np.repeat(kinds, lengths).astype(np.uint8)
    replacements = (np.arange(CODE_POINTS) + np.repeat(shifts, lengths)).astype(np.int32)
    # Unicode promises never to change a decomposition, so any Python's table does.
    expansions = {
        int(code): [ord(char) for char in unicodedata.normalize("NFD", chr(code)) if kinds[ord(char)] != DROPPED]
        for code in np.flatnonzero(kinds == EXPANDED)
    }
    return kinds, replacements, expansions


def to_pages(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compresses a table over code points: equal pages of 256 are kept once.

    Args:
        values: int32 `[N]`, N a multiple of 256.

    Returns:
        starts: int32 `[N / 256]`: where the page of each 256 code points begins.
        entries: int32: the distinct pages, one after the other. `values[c] == entries[starts[c // 256] + c % 256]`.

    Example:
        >>> starts, entries = to_pages(np.zeros(1024, np.int32))
        >>> len(starts), len(entries)
        (4, 256)
    """
    pages, index = np.unique(values.reshape(-1, PAGE), axis=0, return_inverse=True)
    return (index.reshape(-1) * PAGE).astype(np.int32), pages.reshape(-1).astype(np.int32)
