## The site's navigation, a namespace for every layout.

<%def name="menu(current)" cached="True" cache_region="long">
<nav class="menu" aria-label="Sections">
<ul>
% for slug, title in [("", "Front page"), *sections.items()]:
<li><a href="${f'/section/{slug}' if slug else '/'}"\
${Markup(' aria-current="page"') if slug == current else ""}>${title}</a></li>
% endfor
<li class="end"><a href="/digest/morning"\
${Markup(' aria-current="page"') if current == "digest" else ""}>The brief</a></li>
</ul>
</nav>
</%def>

<%def name="path(*steps)" cached="True" cache_region="long">
<nav class="path" aria-label="You are here"><ol>
<li><a href="/">Courier</a></li>
% for slug in steps:
<li><a href="/section/${slug}">${sections[slug]}</a></li>
% endfor
</ol></nav>
</%def>
