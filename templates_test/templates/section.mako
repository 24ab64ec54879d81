<%inherit file="base.mako"/>\
<%namespace name="cards" file="cards.mako"/>\
<%page cached="True" cache_region="short" cache_timeout="120"
       cache_key="section:${section}"/>\
<%block name="title">${sections[section]} – The Saltmere Courier</%block>
<h1 class="desk-title">${sections[section]}</h1>
<div class="reports">
% for article in news.latest(section):
${cards.teaser(article.id, "top" if loop.index < 2 else "list")}
% endfor
</div>
