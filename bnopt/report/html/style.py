"""The style sheet. Colours are of the Okabe-Ito family: told apart in any colour vision."""

STYLE = """
:root{color-scheme:light dark;--page:#f6f7f9;--box:#fff;--ink:#1b2027;--dim:#57606c;--line:#dde1e7;
--soft:#eef1f5;--link:#0a5ea8;--stored:#0a6ebd;--measured:#b85c00;--good:#00714f;--good-soft:#e3f4ee;
--warn:#8a5a00;--warn-soft:#fdf1d6;--bad:#b3261e;--bad-soft:#fdeae7;--info:#0a5ea8;
--info-soft:#e6f0fa;--folded:#0a6ebd;--merged:#57a8e0;--lowered:#00946b;--kept:#a3abb6}
@media (prefers-color-scheme:dark){:root{--page:#12151a;--box:#1a1e25;--ink:#e4e8ee;--dim:#9aa5b3;
--line:#2e343e;--soft:#232932;--link:#7cbcf5;--stored:#5fb0f0;--measured:#f2a23c;--good:#4fd0a4;
--good-soft:#10301f;--warn:#f0bd55;--warn-soft:#342a12;--bad:#ff8d80;--bad-soft:#3b1a18;
--info:#7cbcf5;--info-soft:#14283c;--folded:#4a9de0;--merged:#2f6796;--lowered:#39b58c;
--kept:#5d6673}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1240px;margin:0 auto;padding:20px 20px 48px}
h1,h2,h3,p,dl,dd,figure,ul{margin:0}
a{color:var(--link)}
.name,code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
font-size:.88em;overflow-wrap:anywhere}
.brand{color:var(--dim);font-size:13px;margin-bottom:10px}
.brand b{color:var(--ink)}
.icon{width:1em;height:1em;flex:none;fill:currentColor;stroke:none}
.icon .k{fill:none;stroke:var(--box);stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round}
.verdict{display:grid;grid-template-columns:auto 1fr;gap:4px 14px;padding:18px 20px;
border:1px solid;border-left-width:8px;border-radius:8px;background:var(--box)}
.verdict>.icon{width:34px;height:34px;margin-top:3px}
.verdict h1{font-size:28px;line-height:1.25;letter-spacing:-.01em;overflow-wrap:anywhere}
.verdict p{grid-column:2;color:var(--ink);overflow-wrap:anywhere}
.verdict .lead{font-size:17px;font-weight:600;margin-top:4px}
.verdict small{display:block;color:var(--dim);font-size:12px;font-weight:600}
.verdict .basis{color:var(--dim);font-size:13px;margin-top:6px}
.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}.info{color:var(--info)}
.none{color:var(--dim)}
.verdict.good{background:var(--good-soft)}.verdict.warn{background:var(--warn-soft)}
.verdict.bad{background:var(--bad-soft)}.verdict.info{background:var(--info-soft)}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px 20px;
margin:14px 0 0}
.facts>div:first-child{grid-column:span 2}
.facts dt{color:var(--dim);font-size:12px}
.facts dd{overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
section{margin-top:30px}
h2{font-size:18px;line-height:1.3;margin-bottom:10px}
h3{font-size:15px;line-height:1.4}
.badge{display:inline-flex;align-items:center;gap:5px;font-size:12px;font-weight:600;
white-space:nowrap}
.cause{border:1px solid var(--line);border-left:5px solid;border-radius:6px;background:var(--box);
padding:10px 14px;margin-bottom:8px}
.cause header{display:flex;flex-wrap:wrap;align-items:center;gap:4px 12px}
.cause p,.cause details{color:var(--ink);margin-top:4px;overflow-wrap:anywhere}
.fix b{color:var(--dim);font-weight:600}
.count{color:var(--dim);font-size:13px}
details>summary{cursor:pointer;color:var(--link)}
summary:focus-visible,button:focus-visible,a:focus-visible,.scroll:focus-visible{
outline:2px solid var(--link);outline-offset:2px;border-radius:3px}
.list{padding-left:18px;font-size:13px;max-height:420px;overflow:auto}
.list li{margin-top:5px}
.evidence{color:var(--dim)}
.note,.empty{color:var(--dim);font-size:13px;margin-top:6px;overflow-wrap:anywhere}
.scroll{overflow:auto;max-height:80vh;background:var(--box);border:1px solid var(--line);
border-radius:6px}
.narrow{max-width:600px}
.verdict p,.cause p,.note{max-width:100ch}
.scroll+.scroll,.scroll+.note,.note+.scroll{margin-top:10px}
table{border-collapse:separate;border-spacing:0;width:100%;font-size:13px;line-height:1.35}
caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
th,td{padding:6px 9px;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
tbody tr:last-child>*{border-bottom:0}
tbody tr:hover>*{background:var(--soft)}
tbody th{font-weight:400;min-width:170px;max-width:280px}
thead tr{background:var(--soft)}
thead th{position:sticky;top:0;background:var(--soft);color:var(--dim);font-size:12px;
font-weight:600;vertical-align:bottom;z-index:1}
.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td .sub{display:block;color:var(--dim);font-size:12px;min-width:190px;max-width:320px;
overflow-wrap:anywhere}
thead button{all:unset;cursor:pointer;box-sizing:border-box}
thead button::after{content:"";margin-left:3px}
thead button:hover{color:var(--link)}
[aria-sort=ascending] button::after{content:"\\2191"}
[aria-sort=descending] button::after{content:"\\2193"}
[aria-sort=ascending],[aria-sort=descending]{color:var(--ink)!important}
.layer{border:1px solid var(--line);border-radius:6px;background:var(--box);margin-bottom:6px;
scroll-margin-top:12px}
.layer>summary{display:flex;flex-wrap:wrap;align-items:center;gap:2px 12px;padding:8px 12px;
color:var(--ink);list-style:none}
.layer>summary::-webkit-details-marker{display:none}
.layer>summary::before{content:"";border:solid var(--dim);border-width:0 1.6px 1.6px 0;width:7px;
height:7px;transform:rotate(-45deg);flex:none}
.layer[open]>summary::before{transform:rotate(45deg)}
.layer>summary .name{flex:1 1 200px}
.layer .inside{padding:0 12px 12px;scroll-margin-top:60px}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(250px,1fr));gap:12px;
margin-top:10px}
.plots>div{min-width:0;max-width:370px}
.empty{border:1px dashed var(--line);border-radius:6px;padding:14px}
svg{display:block}
.plot{width:100%;height:auto}
.overview{width:100%;min-width:760px;height:auto;padding:10px 6px}
svg text{font-size:10.5px;fill:var(--dim);font-variant-numeric:tabular-nums}
svg .t{font-size:12px;font-weight:600;fill:var(--ink)}
svg .m{text-anchor:middle}svg .e{text-anchor:end}
.grid{stroke:var(--line);fill:none}
.same,.one{stroke:var(--dim);stroke-width:1.2;stroke-dasharray:4 3;fill:none}
.dots{stroke:var(--measured);stroke-width:4;stroke-linecap:round;stroke-opacity:.62;fill:none}
.bars{fill:var(--stored)}
.range{stroke:var(--stored);stroke-opacity:.45;fill:none}
.mid{stroke:var(--stored);stroke-linecap:round;fill:none}
.other{fill:none;stroke:var(--measured);stroke-width:1.6}
.folded{fill:var(--folded)}.merged{fill:var(--merged)}.lowered{fill:var(--lowered)}
.kept{fill:var(--kept)}path.info,rect.info{fill:var(--info)}
path.warning,rect.warning{fill:var(--measured)}path.error,rect.error{fill:var(--bad)}
.hit{fill:transparent}a:hover .hit{fill:var(--dim);fill-opacity:.16}
figcaption{display:flex;flex-wrap:wrap;gap:4px 16px;color:var(--dim);font-size:12px;margin-top:6px}
figcaption span{display:inline-flex;align-items:center;gap:5px}
.key{width:11px;height:11px;overflow:visible}
footer{margin-top:36px;color:var(--dim);font-size:12px}
@media (max-width:600px){.layer>summary .name{font-size:.8em}
main{padding:12px 12px 32px}.verdict{padding:14px 14px;gap:4px 10px}
.verdict>.icon{width:26px;height:26px}.verdict h1{font-size:22px}.verdict .lead{font-size:15px}
.verdict p{grid-column:1/-1}.facts{grid-template-columns:repeat(auto-fill,minmax(120px,1fr))}}
@media print{:root{color-scheme:light;--page:#fff;--box:#fff;--ink:#000;--dim:#444;--line:#bbb;
--soft:#eee;--link:#000;--stored:#0a6ebd;--measured:#b85c00;--good:#00714f;--good-soft:#fff;
--warn:#8a5a00;--warn-soft:#fff;--bad:#b3261e;--bad-soft:#fff;--info:#0a5ea8;--info-soft:#fff;
--folded:#0a6ebd;--merged:#57a8e0;--lowered:#00946b;--kept:#a3abb6}
main{max-width:none;padding:0}body{font-size:11px}table{font-size:9px}
.scroll,.list{max-height:none;overflow:visible;border:0}.overview{min-width:0}
thead tr{background:var(--soft)}
thead th{position:static}th,td{padding:3px 5px}tr,.cause,.plots>div,figure{break-inside:avoid}
thead button::after{content:none!important}a{text-decoration:none}
svg,.cause,.verdict{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
